"""Dynamic dimensions: told to torch.export by their names, and read back from its program."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.export import Dim as TorchDim
from torch.utils._sympy.functions import FloorDiv
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.printers import PythonPrinter

from aotbuild.config import schema
from aotbuild.config.sizes import parse_size
from aotbuild.runtime.manifest import Derived, Dim, Input, Size


def declared_shape(shape: Sequence[int | str]) -> list[Size]:
    """A shape of the declaration in the terms of the manifest."""
    found: list[Size] = []
    for size in shape:
        parsed = parse_size(size) if isinstance(size, str) else None
        if parsed is None:
            found.append(size)
        elif (parsed.factor, parsed.offset) == (1, 0):
            found.append(parsed.dim)
        else:
            found.append(Derived(parsed.dim, parsed.factor, parsed.offset))
    return found


def torch_dims(
    shapes: Sequence[Sequence[Size]], dims: Mapping[str, schema.Dim]
) -> list[dict[int, Any]]:
    """For each shape its dynamic dimensions, as torch.export wants them told."""
    known = {name: _torch_dim(name, dim) for name, dim in dims.items()}

    def told(size: str | Derived) -> Any:
        if isinstance(size, str):
            return known[size]
        scaled = known[size.dim] if size.factor == 1 else size.factor * known[size.dim]
        return scaled + size.offset if size.offset else scaled

    return [
        {i: told(size) for i, size in enumerate(shape) if not isinstance(size, int)}
        for shape in shapes
    ]


def _torch_dim(name: str, dim: schema.Dim) -> Any:
    if dim.auto:
        return TorchDim.AUTO
    step = dim.multiple_of
    if step == 1:
        return TorchDim(name, min=dim.min, max=dim.max)
    # The multiples of a number are what torch derives from a dimension that is in no shape.
    end = None if dim.max is None else dim.max // step
    return step * TorchDim(f"_{name}", min=dim.min // step, max=end)


def leaf_dims(spec: Any, value: Any) -> list[Any]:
    """Dynamic shapes in torch.export's notation, flat: one entry for each tensor in ``value``.

    Args:
        spec: The dynamic shapes of ``value``; None stands for all that is below it.
        value: An argument, or a dict of them.

    Raises:
        ValueError: The two are not of one structure.
    """
    if isinstance(value, torch.Tensor):
        return [spec]
    if not isinstance(value, dict | list | tuple):
        return []
    items = list(value.values() if isinstance(value, dict) else value)
    if spec is None:
        return [found for item in items for found in leaf_dims(None, item)]
    if isinstance(value, dict) and isinstance(spec, Mapping):
        unknown = set(spec) - set(value)
        if unknown:
            raise ValueError(f"{sorted(map(str, unknown))} are not among {list(value)}")
        specs = [spec.get(key) for key in value]
    elif isinstance(spec, list | tuple) and len(spec) == len(items):
        specs = list(spec)
    else:
        raise ValueError(f"{spec!r} does not fit {len(items)} values")
    return [found for pair in zip(specs, items, strict=True) for found in leaf_dims(*pair)]


def dim_names(specs: Sequence[Any]) -> list[dict[int, str]]:
    """The names of the dimensions in flat dynamic shapes, by their axes.

    A size that torch derives from a dimension, such as ``2*batch``, has the name of that one.
    """
    found = []
    for spec in specs:
        pairs = spec.items() if isinstance(spec, Mapping) else enumerate(spec or ())
        dims = {axis: dim for axis, dim in pairs if isinstance(dim, TorchDim)}
        found.append({axis: getattr(dim, "root", dim).__name__ for axis, dim in dims.items()})
    return found


@dataclass(frozen=True)
class Linear:
    """What a symbol stands for: ``step * symbol = factor * name + offset``."""

    name: str
    step: int = 1
    factor: int = 1
    offset: int = 0

    @property
    def solved(self) -> sympy.Expr:
        """The symbol's value in terms of the dimension."""
        return self.exact if self.step == 1 else FloorDiv(self.exact * self.step, self.step)

    @property
    def exact(self) -> sympy.Expr:
        """The same as a fraction, which is whole for every size that the dimension can have."""
        told = self.factor * sympy.Symbol(self.name, integer=True) + self.offset
        return sympy.expand(told / self.step)

    def symbol_size(self, size: int) -> int:
        """The symbol's value for a size of the dimension, rounded down."""
        return (self.factor * size + self.offset) // self.step

    def symbol_range(self, dim: Dim) -> Dim:
        """The range of the symbol, when the dimension has this one."""
        low = -((-self.factor * dim.min - self.offset) // self.step)
        return Dim(low, None if dim.max is None else self.symbol_size(dim.max))

    def narrowed(self, dim: Dim, symbol: Dim) -> Dim:
        """The range of the dimension, when its own is ``dim`` and the symbol has this one."""
        whole = self.symbol_range(dim)
        low, high = dim.min, dim.max
        if symbol.min != whole.min:
            low = -((self.offset - self.step * symbol.min) // self.factor)
        if symbol.max is not None and symbol.max != whole.max:
            high = (self.step * symbol.max - self.offset) // self.factor
        return Dim(low, high, dim.multiple_of)


def dimension_symbols(
    graph: torch.fx.Graph, inputs: Sequence[Input]
) -> tuple[dict[sympy.Symbol, Linear], Any]:
    """The symbols behind the dynamic dimensions, and the ShapeEnv they belong to.

    Args:
        graph: A graph whose last placeholders are the inputs.
        inputs: The inputs, in the order of the placeholders.
    """
    sizes = [
        (size.node, parts(want))
        for value, spec in zip(input_values(graph, len(inputs)), inputs, strict=True)
        for size, want in zip(value.shape, spec.shape, strict=True)
        if isinstance(size, torch.SymInt) and not isinstance(want, int)
    ]
    symbols: dict[sympy.Symbol, Linear] = {}
    # In node.expr a size that equals another goes by the other's name, hence its own comes first.
    # In a program that was just traced, a multiple has a symbol of its own and one that it is made
    # of; in one that was loaded, only the latter.
    for expression, (name, factor, offset) in [
        *((node._expr, parts) for node, parts in sizes),
        *((node.expr, parts) for node, parts in sizes),
    ]:
        told = _linear(expression)
        if told is not None:
            symbol, step, start = told
            symbols.setdefault(symbol, Linear(name, step, factor, offset - start))
    return symbols, sizes[0][0].shape_env if sizes else None


def input_values(graph: torch.fx.Graph, count: int) -> list[Any]:
    """The fake tensors, with symbolic sizes, of the last ``count`` tensors that a graph takes."""
    values = [  # constant arguments have placeholders too
        node.meta["val"]
        for node in graph.nodes
        if node.op == "placeholder" and isinstance(node.meta["val"], torch.Tensor)
    ]
    return values[-count:] if count else []


def named(expression: sympy.Expr, symbols: Mapping[sympy.Symbol, Linear]) -> str:
    """A symbolic size in the names of the declaration, such as ``2*batch``."""
    names = {symbol: linear.solved for symbol, linear in symbols.items()}
    return str(PythonPrinter().doprint(sympy.sympify(expression.xreplace(names))))


def as_function(expression: sympy.Basic, symbols: Sequence[sympy.Symbol]) -> Callable[..., bool]:
    """Whether a condition holds, as a function of the values of its symbols.

    Python's own arithmetic is a hundred times faster than sympy's, for thousands of sizes.
    """
    code = compile(PythonPrinter().doprint(expression), "<guard>", "eval")
    names = [str(symbol) for symbol in symbols]

    def holds(*values: int) -> bool:
        try:
            return bool(eval(code, {"math": math, **dict(zip(names, values, strict=True))}))  # noqa: S307
        except ZeroDivisionError:
            return False

    return holds


def read_dims(
    program: torch.export.ExportedProgram,
    shapes: Sequence[Sequence[Size]],
    declared: Mapping[str, schema.Dim],
) -> tuple[list[list[Size]], dict[str, Dim]]:
    """What became of the declared dimensions: those that are ``auto`` can be static.

    A dimension that the model ties to another, as ``a + b`` does, follows from that one.

    Returns:
        The shapes, with numbers for dimensions that are static, and the ranges of the others.
    """
    auto = {name for name, dim in declared.items() if dim.auto}
    values = input_values(program.graph, len(shapes))
    dims = {
        name: Dim(dim.min, dim.max, dim.multiple_of)
        for name, dim in declared.items()
        if not dim.auto
    }
    static: dict[str, int] = {}
    for value, shape in zip(values, shapes, strict=True):
        for size, want in zip(value.shape, shape, strict=True):
            if want not in auto:
                continue
            name = str(want)
            if isinstance(size, int) or size.node.expr.is_number:
                static[name] = int(size)
                continue
            found = _range_of(program, size.node.expr, declared[name])
            known = dims.get(name)
            dims[name] = found if known is None else known.intersection(found)
    tied = _tied(values, shapes, auto) if auto else {}
    for name, size in tied.items():
        base, factor, offset = parts(size)
        own = Dim(declared[name].min, declared[name].max)
        narrowed = Linear(base, 1, factor, offset).narrowed(dims[base], own)
        dims[base] = dims[base].intersection(narrowed)
    solved: dict[str, Size] = {**tied, **static}
    for name in solved:
        dims.pop(name, None)
    return [
        [solved.get(size, size) if isinstance(size, str) else size for size in shape]
        for shape in shapes
    ], dims


def _tied(
    values: Sequence[Any], shapes: Sequence[Sequence[Size]], auto: Collection[str]
) -> dict[str, str | Derived]:
    """The dimensions that follow from others, and how: torch knows both by one symbol."""
    known: dict[str, tuple[sympy.Symbol, int, int]] = {}
    for value, shape in zip(values, shapes, strict=True):
        for size, want in zip(value.shape, shape, strict=True):
            told = None if isinstance(size, int) else _linear(size.node.expr)
            if isinstance(want, str) and told is not None:
                known.setdefault(want, told)
    bases: dict[sympy.Symbol, str] = {}
    tied: dict[str, str | Derived] = {}
    # The others follow from the finest; among equals, one with a declared range keeps its name.
    for name in sorted(known, key=lambda name: (*known[name][1:], name in auto)):
        symbol, step, start = known[name]
        base = bases.setdefault(symbol, name)
        _, unit, first = known[base]
        if base == name or step % unit:
            continue
        factor = step // unit
        offset = start - factor * first
        tied[name] = base if (factor, offset) == (1, 0) else Derived(base, factor, offset)
    return tied


def name_dims(
    program: torch.export.ExportedProgram,
    labels: Sequence[str],
    hints: Sequence[Mapping[int, str]],
) -> tuple[list[list[Size]], dict[str, Dim]]:
    """The shapes of a program whose dimensions were not declared by name.

    Args:
        program: The program.
        labels: For each tensor that it takes the expression that picks it.
        hints: Names of its dimensions by their axes, where they are known.

    Returns:
        The shapes, and the range of each dimension in them.
    """
    names: dict[sympy.Symbol, str] = {}
    values = input_values(program.graph, len(labels))
    # A size that is just a symbol names it; only then can others be told as derived from it.
    for plain in (True, False):
        for value, label, hint in zip(values, labels, hints, strict=True):
            for axis, size in enumerate(value.shape):
                told = None if isinstance(size, int) else _linear(size.node.expr)
                if told is None or told[0] in names or (told[1:] == (1, 0)) is not plain:
                    continue
                told_by = re.sub(r"\W+", "_", label).strip("_")
                wanted = hint.get(axis) or f"{told_by}_dim{axis}" + "_base" * (not plain)
                names[told[0]] = _free(wanted, names.values())
    shapes: list[list[Size]] = []
    for value in values:
        shape: list[Size] = []
        for size in value.shape:
            told = None if isinstance(size, int) else _linear(size.node.expr)
            if told is None:
                shape.append(int(size))
            else:
                symbol, step, start = told
                name = names[symbol]
                shape.append(name if (step, start) == (1, 0) else Derived(name, step, start))
        shapes.append(shape)
    declared = schema.Dim()
    dims = {name: _range_of(program, symbol, declared) for symbol, name in names.items()}
    return shapes, dims


def _free(name: str, taken: Any) -> str:
    while name in taken:
        name += "_"
    return name


def _range_of(
    program: torch.export.ExportedProgram, expression: sympy.Expr, declared: schema.Dim
) -> Dim:
    found = program.range_constraints.get(expression)
    low, high = declared.min, declared.max
    if found is not None:
        # Tracing supposes that a dynamic size is neither 0 nor 1; the code mostly serves both.
        low = max(low, int(found.lower)) if found.lower > 2 else low
        if found.upper != int_oo and found.upper < sympy.oo:
            high = int(found.upper) if high is None else min(high, int(found.upper))
    return Dim(low, high)


def parts(size: str | Derived) -> tuple[str, int, int]:
    """The dimension that a size tells, and factor and offset: a plain one is ``1 * dim + 0``."""
    if isinstance(size, Derived):
        return size.dim, size.factor, size.offset
    return size, 1, 0


def _linear(expression: sympy.Expr) -> tuple[sympy.Symbol, int, int] | None:
    """``step * symbol + start`` of an expression, or None for another one."""
    free = list(expression.free_symbols)
    if len(free) != 1:
        return None
    symbol = free[0]
    step = expression.coeff(symbol, 1)
    start = sympy.expand(expression - step * symbol)
    if not (step.is_Integer and start.is_Integer and step > 0):
        return None
    return symbol, int(step), int(start)
