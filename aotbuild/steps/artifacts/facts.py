"""Facts about a traced program: which kinds of work it has, and a fingerprint of its code.

Written by the export beside the program, so that the steps behind it need not load it to know them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aotbuild.steps.dtypes import dtype_name
from aotbuild.steps.files import write_if_changed

if TYPE_CHECKING:
    import torch

FACTS = "facts.json"

_CONVOLUTIONS = ("aten.convolution", "aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.conv_")
_PRODUCTS = ("aten.linear", "aten.addmm", "aten.mm", "aten.matmul", "aten.bmm", "aten.baddbmm")
_ATTENTION = ("aten.scaled_dot_product", "aten._scaled_dot_product")
_RECURRENT = ("aten.lstm", "aten.gru", "aten.rnn_", "aten.mkldnn_rnn", "while_loop", "scan")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What kind of program it is."""

    program: str
    """Fingerprint of its operations, sizes and ranges; values of weights are not in it, nor are
    names, comments and lines of the source."""
    convolutions: int = 0
    products: int = 0
    """Products of matrices: linear layers among others."""
    attentions: int = 0
    recurrent: int = 0
    floats: list[str] = dataclasses.field(default_factory=list)
    """The dtypes of its floating-point values."""

    def write(self, directory: Path) -> None:
        """Write as JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=1) + "\n"
        write_if_changed(directory / FACTS, text)

    @classmethod
    def read(cls, directory: Path) -> Facts:
        """Read what ``write`` wrote."""
        return cls(**json.loads((directory / FACTS).read_text(encoding="utf-8")))


def facts_of(program: torch.export.ExportedProgram) -> Facts:
    """The facts about a program."""
    graphs = list(_graphs(program.graph_module))
    nodes = [node for _, graph in graphs for node in graph.nodes]
    called = [_told(node.target) for node in nodes if node.op == "call_function"]
    values = [value for node in nodes for value in _values(node.meta.get("val"))]

    def count(names: tuple[str, ...]) -> int:
        return sum(name.startswith(names) for name in called)

    return Facts(
        program=_fingerprint(program, graphs),
        convolutions=count(_CONVOLUTIONS),
        products=count(_PRODUCTS),
        attentions=count(_ATTENTION),
        recurrent=count(_RECURRENT),
        floats=sorted({dtype_name(each.dtype) for each in values if each.dtype.is_floating_point}),
    )


def settings_fingerprint(settings: Mapping[str, Any]) -> str:
    """A fingerprint of what else decides about the code, such as options of Inductor."""
    return _digest(json.dumps(settings, sort_keys=True, default=str))


def _graphs(module: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The graph of a module and those of loops and branches in it."""
    import torch

    yield name, module.graph
    for key, child in module.named_children():
        if isinstance(child, torch.fx.GraphModule):
            yield from _graphs(child, f"{name}.{key}")


def _fingerprint(program: torch.export.ExportedProgram, graphs: Sequence[tuple[str, Any]]) -> str:
    text = _Text()
    lines = [line for name, graph in graphs for line in (f"graph {name}", *text.lines(graph))]
    for name, sizes in program.range_constraints.items():
        short = text.symbols.get(str(name))
        lines += [f"{short} {sizes.lower} {sizes.upper}"] if short else []
    lines += [spec.kind.name for spec in program.graph_signature.input_specs]
    return _digest("\n".join(lines))


class _Text:
    """Graphs as text, without the names that torch chose.

    Nodes and sizes are numbered by the order in which they first occur.
    """

    def __init__(self) -> None:
        self.symbols: dict[str, str] = {}

    def lines(self, graph: torch.fx.Graph) -> Iterator[str]:
        """A line for each node."""
        places: dict[Any, str] = {}
        for node in graph.nodes:
            places[node] = f"%{len(places)}"
            called = node.op in {"call_function", "get_attr"}
            words = [places[node], node.op, _told(node.target) if called else ""]
            if node.op != "placeholder":
                words += [self._argument(node.args, places), self._argument(node.kwargs, places)]
            words += [self._value(value) for value in _values(node.meta.get("val"))]
            yield " ".join(words)

    def _argument(self, value: Any, places: Mapping[Any, str]) -> str:
        import torch

        if isinstance(value, torch.fx.Node):
            return places[value]
        if isinstance(value, list | tuple):
            return f"[{','.join(self._argument(item, places) for item in value)}]"
        if isinstance(value, slice):
            return self._argument([value.start, value.stop, value.step], places)
        if isinstance(value, Mapping):
            return self._argument(sorted(value.items()), places)
        return self._size(value)

    def _value(self, value: torch.Tensor) -> str:
        return f"{dtype_name(value.dtype)}[{','.join(map(self._size, value.shape))}]"

    def _size(self, value: Any) -> str:
        import torch

        if not isinstance(value, torch.SymInt):
            return str(value)
        expression = value.node.expr
        names = sorted(expression.free_symbols, key=str)
        for name in names:
            self.symbols.setdefault(str(name), f"d{len(self.symbols)}")
        own = {name: type(name)(self.symbols[str(name)]) for name in names}
        return str(expression.xreplace(own))


def _told(target: Any) -> str:
    """The name of an operator or a function, without the address that Python shows."""
    import torch

    if isinstance(target, str | torch._ops.OpOverload | torch._ops.HigherOrderOperator):
        return str(target)
    return str(getattr(target, "__name__", type(target).__name__))


def _values(value: Any) -> Iterator[torch.Tensor]:
    import torch

    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _values(item)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
