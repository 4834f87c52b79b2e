"""The traced program as Python source: what runs where no compiled variant fits.

It is the graph of torch.export, operator by operator, over weights of the package's one file. It
needs torch and nothing of the project, and nothing is unpickled or evaluated to load it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx.graph_module import _format_import_block
from torch.package.importer import sys_importer

from aotbuild.steps.artifacts.program import table_of
from aotbuild.steps.files import HEADER, write_text

EAGER = "eager.py"

_WEIGHTS = "eager.json"
"""What it takes before its inputs."""


@dataclass(frozen=True)
class Eager:
    """An eager program, and what it takes before its inputs."""

    source: Path
    weights: list[str]
    """By the names that the export's weights have."""

    @classmethod
    def read(cls, directory: Path) -> Eager | None:
        """Read what ``write_eager`` wrote, if it did."""
        if not (directory / _WEIGHTS).exists():
            return None
        table = json.loads((directory / _WEIGHTS).read_text(encoding="utf-8"))
        return cls(directory / EAGER, table["weights"])


def write_eager(
    program: torch.export.ExportedProgram, names: Mapping[str, str], directory: Path, origin: str
) -> None:
    """Write ``eager.py`` and ``eager.json``, which ``Eager`` reads.

    Args:
        program: The program, whose inputs are all tensors.
        names: How its weights are named where they are stored.
        directory: Where the files go.
        origin: What the source says it was made from.
    """
    module: torch.fx.GraphModule = copy.copy(program.graph_module)
    module.graph = graph = copy.deepcopy(program.graph_module.graph)
    constants, weights = _take_weights(program, graph, names)
    _change_inputs(program, graph)
    write_text(directory / EAGER, eager_source(module, origin, constants))
    write_text(directory / _WEIGHTS, json.dumps({"weights": weights}, indent=1) + "\n")


def _take_weights(
    program: torch.export.ExportedProgram, graph: torch.fx.Graph, names: Mapping[str, str]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Let a graph take the weights that are stored and used, and no others.

    Args:
        program: The program.
        graph: A copy of its graph, which is changed.
        names: How its weights are named where they are stored.

    Returns:
        The small constants that are stored nowhere, which the graph has as attributes; and the
        names of the weights that it takes, in this order.
    """
    inputs = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    constants: dict[str, torch.Tensor] = {}
    weights = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        node, name = inputs[spec.arg.name], str(spec.target)
        if not node.users:
            graph.erase_node(node)
        elif name in names:
            weights.append(names[name])
        else:
            constants[node.name] = table_of(program, name)[name]
            # Behind all placeholders, which come first.
            with graph.inserting_before(next(n for n in graph.nodes if n.op != "placeholder")):
                node.replace_all_uses_with(graph.create_node("get_attr", node.name))
            graph.erase_node(node)
    return constants, weights


def _change_inputs(program: torch.export.ExportedProgram, graph: torch.fx.Graph) -> None:
    """Let a copy of a program's graph write to the inputs that the program changes."""
    signature = program.graph_signature
    if not signature.user_inputs_to_mutate:
        return
    inputs = {node.name: node for node in graph.nodes if node.op == "placeholder"}
    output = graph.output_node()
    values: Any = output.args[0]
    returned = []
    for spec, value in zip(signature.output_specs, values, strict=True):
        if spec.kind is OutputKind.USER_INPUT_MUTATION:
            with graph.inserting_before(output):
                target = inputs[str(spec.target)]
                graph.call_function(torch.ops.aten.copy_.default, (target, value))
        else:
            returned.append(value)
    output.args = (tuple(returned),)


def remove_eager(directory: Path) -> None:
    """Remove what ``write_eager`` wrote in an earlier build."""
    (directory / _WEIGHTS).unlink(missing_ok=True)


def eager_source(
    module: torch.fx.GraphModule, origin: str, constants: Mapping[str, torch.Tensor] | None = None
) -> str:
    """The text of a module whose ``program`` is called with weights and inputs, all flat.

    Args:
        module: The graph.
        origin: What it was made from.
        constants: Tensors that are attributes of it, by name.
    """
    graphs: list[str] = []
    imported: dict[str, Any] = {}
    if constants:
        imported["torch"] = torch
    _add_graph(module, "Program", graphs, imported, constants or {})
    imports = _format_import_block(imported, sys_importer)
    return (
        f'{HEADER}\n"""{origin}, as torch runs it uncompiled."""\n\n'
        f"{imports}\n\n\n" + "\n\n\n".join(graphs) + "\n\n\nprogram = Program()\n"
    )


def _add_graph(
    module: torch.fx.GraphModule,
    name: str,
    graphs: list[str],
    imported: dict[str, Any],
    constants: Mapping[str, torch.Tensor],
) -> None:
    """Add the class of a graph behind those of the graphs that it calls, such as loop bodies."""
    lines = [f"class {name}:"]
    lines += [f"    {constant} = {_literal(tensor)}" for constant, tensor in constants.items()]
    for child, inner in module.named_children():
        assert isinstance(inner, torch.fx.GraphModule)  # noqa: S101
        _add_graph(inner, f"{name}_{child}", graphs, imported, {})
        lines.append(f"    {child} = {name}_{child}()")
    code = module.graph.python_code("self")
    imported.update(code.globals)
    body = code.src.strip("\n").replace("def forward(", "def __call__(", 1)
    lines += [f"    {line}".rstrip() for line in body.splitlines()]
    graphs.append("\n".join(lines))


def _literal(tensor: torch.Tensor) -> str:
    """A small tensor as Python writes it, bit for bit."""
    shape, dtype = tuple(tensor.shape), tensor.dtype
    if not tensor.numel():
        return f"torch.empty({shape}, dtype={dtype})"
    plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    content = bytes(plain.tolist())
    return f"torch.frombuffer(bytearray({content!r}), dtype={dtype}).reshape({shape})"
