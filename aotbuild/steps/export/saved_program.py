"""Programs that torch.export.save wrote: their inputs, dimensions and weights are their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from aotbuild.config.messages import located
from aotbuild.config.schema import FORWARD
from aotbuild.errors import SourceError
from aotbuild.runtime.dims import Size
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.samples import Leaf, Samples
from aotbuild.steps.artifacts.spec import ExportSpec
from aotbuild.steps.export.arguments import Argument, Parameter, call_program, call_tree, tensors_of
from aotbuild.steps.export.finite_weights import check_finite
from aotbuild.steps.export.mutation import find_changes
from aotbuild.steps.export.outputs import output_tree
from aotbuild.steps.export.traced import (
    Traced,
    TracedModel,
    inputs_of,
    keep_computed_outputs,
    reference_outputs,
    sizes_of,
)
from aotbuild.steps.project_code import error_text
from aotbuild.steps.sizes.shapes import name_dims

_SAVED_SIZE = re.compile(r"L\['(\w+)'\]((?:\[[^\]]+\])*)\.size\(\)\[(\d+)\]")


def load_program(spec: ExportSpec, project: Path) -> TracedModel:
    """A program that torch.export.save wrote; its inputs, dimensions and weights are its own.

    Raises:
        SourceError: The file cannot be loaded, or holds no example inputs.
        WeightsError: A weight is infinite or NaN.
        ExportError: It changes its buffers, or returns what cannot be rebuilt.
    """
    path = f"tool.aotbuild.models.{spec.name}"
    where = located(path)
    program = _read(spec, project)
    arguments = _arguments(program)
    in_spec, labels = call_tree(arguments, located(f"{path}.source"))
    tensors = [tensor for argument in arguments for tensor in tensors_of(argument.value)]
    shapes, dims = name_dims(program, labels, [{}] * len(labels))
    samples = Samples([Leaf.of(tensor) for tensor in tensors])
    inputs = inputs_of(labels, samples.leaves, shapes, tensors)
    changes = find_changes(program, where)
    program = changes.program
    module = program.module()
    call = CallSpec(
        inputs=inputs,
        in_spec=in_spec,
        outputs=output_tree(program, inputs, where),
        dims=dims,
        conditions=_saved_conditions(program, labels, shapes),
        example=sizes_of(shapes, tensors),
        op_libraries=spec.declaration.op_libraries or [],
        changed=changes.inputs,
    )
    example = program.example_inputs
    eager = [lambda tensors: call_program(module, example, tensors)]
    reference = reference_outputs(call, samples, eager, path, project, torch.device(spec.device))
    keep_computed_outputs(program, where)
    method = Traced(FORWARD, program, call, samples, reference)
    return TracedModel([method], dict(program.state_dict))


def _read(spec: ExportSpec, project: Path) -> torch.export.ExportedProgram:
    """The saved program, with example inputs and finite weights."""
    source = spec.declaration.source
    path = f"tool.aotbuild.models.{spec.name}.source"
    try:
        program = torch.export.load(project / source)
    except Exception as error:
        raise SourceError(
            f'"{source}" cannot be loaded as an exported program',
            where=located(path),
            why=error_text(error).splitlines()[0],
            fix="write it with torch.export.save(torch.export.export(...), ...) and this torch, "
            f"{torch.__version__}; classes in its inputs and outputs must be registered",
        ) from error
    if program.example_inputs is None:
        raise SourceError(
            f'"{source}" holds no example inputs',
            where=located(path),
            why="they are needed to compile the program and to verify it",
            fix="save it again; torch.export.save keeps them unless they are removed",
        )
    if spec.declaration.check_finite is not False:
        check_finite(program.named_parameters(), program.named_buffers(), source, path)
    return program


def _arguments(program: torch.export.ExportedProgram) -> list[Argument]:
    """The example call; a positional argument without a name is ``input0``, ``input1``, ..."""
    assert program.example_inputs is not None  # noqa: S101  # _read() has seen to it
    args, kwargs = program.example_inputs
    signature = program.module_call_graph[0].signature
    names = list(getattr(signature, "forward_arg_names", None) or [])
    names += [f"input{i}" for i in range(len(names), len(args))]
    names = [*names[: len(args)], *kwargs]
    values = dict(zip(names, [*args, *kwargs.values()], strict=True))
    kinds = dict.fromkeys(names[: len(args)], Parameter.POSITIONAL_OR_KEYWORD)
    return [Argument(n, kinds.get(n, Parameter.KEYWORD_ONLY), v) for n, v in values.items()]


def _saved_conditions(
    program: torch.export.ExportedProgram, labels: Sequence[str], shapes: Sequence[Sequence[Size]]
) -> list[str]:
    """What a saved program needs beyond single ranges, in the names of its dimensions."""

    def declared_size(match: re.Match[str]) -> str:
        label = match[1] + match[2].replace("'", '"')
        size = shapes[labels.index(label)][int(match[3])]
        return f"({size})"

    saved: list[str] = getattr(program, "_guards_code", None) or []
    sizes = [code for code in saved if _SAVED_SIZE.search(code)]
    conditions = {_SAVED_SIZE.sub(declared_size, code) for code in sizes}
    # Two sizes of one name are checked anyhow.
    return sorted(code for code in conditions if len(set(re.split(r"\s*==\s*", code))) > 1)
