"""Dynamic dimensions: given to torch.export by their names, and read back from its program."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.export import Dim as TorchDim
from torch.utils._sympy.numbers import int_oo

from aotbuild.config.schema import DeclaredDim
from aotbuild.config.sizes import parse_size
from aotbuild.runtime.dims import Affine, Dim, Size
from aotbuild.steps.sizes.symbols import SizeSymbol, affine_parts, input_values


def declared_shape(shape: Sequence[int | str]) -> list[Size]:
    """A shape of the declaration, its texts parsed."""
    sizes: list[Size] = []
    for text in shape:
        size = parse_size(text) if isinstance(text, str) else None
        sizes.append(text if size is None else _plain(size))
    return sizes


def _plain(size: Affine) -> str | Affine:
    """The name alone of a size that is the dimension itself."""
    return size.dim if size.is_dim else size


def torch_dims(
    shapes: Sequence[Sequence[Size]], dims: Mapping[str, DeclaredDim]
) -> list[dict[int, Any]]:
    """For each shape its dynamic dimensions by their axes, as torch.export takes them."""
    of_name = {name: _torch_dim(name, dim) for name, dim in dims.items()}

    def torch_size(size: str | Affine) -> Any:
        if isinstance(size, str):
            return of_name[size]
        scaled = of_name[size.dim] if size.factor == 1 else size.factor * of_name[size.dim]
        return scaled + size.offset if size.offset else scaled

    return [
        {i: torch_size(size) for i, size in enumerate(shape) if not isinstance(size, int)}
        for shape in shapes
    ]


def _torch_dim(name: str, dim: DeclaredDim) -> Any:
    if dim.auto:
        return TorchDim.AUTO
    step = dim.multiple_of
    # The multiples of a number are what torch derives from a dimension that is in no shape.
    first, end = dim.min // step, None if dim.max is None else dim.max // step
    if end is not None and is_short(dim):
        end = max(first, 2) + 1
    return (
        TorchDim(name, min=first, max=end)
        if step == 1
        else step * TorchDim(f"_{name}", min=first, max=end)
    )


def is_short(dim: DeclaredDim) -> bool:
    """Whether a range has fewer than two sizes that torch traces, which are neither 0 nor 1.

    torch takes a dimension of which one size is left as fixed: it is traced one size further.
    """
    step = dim.multiple_of
    return dim.max is not None and dim.max // step < max(dim.min // step, 2) + 1


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
        return [leaf for item in items for leaf in leaf_dims(None, item)]
    if isinstance(value, dict) and isinstance(spec, Mapping):
        unknown = set(spec) - set(value)
        if unknown:
            raise ValueError(f"{sorted(map(str, unknown))} are not among {list(value)}")
        specs = [spec.get(key) for key in value]
    elif isinstance(spec, list | tuple) and len(spec) == len(items):
        specs = list(spec)
    else:
        raise ValueError(f"{spec!r} does not fit {len(items)} values")
    return [leaf for pair in zip(specs, items, strict=True) for leaf in leaf_dims(*pair)]


def dim_names(specs: Sequence[Any]) -> list[dict[int, str]]:
    """The names of the dimensions in flat dynamic shapes, by their axes.

    A size that torch derives from a dimension, such as ``2*batch``, has the name of that one.
    """
    names = []
    for spec in specs:
        pairs = spec.items() if isinstance(spec, Mapping) else enumerate(spec or ())
        dims = {axis: dim for axis, dim in pairs if isinstance(dim, TorchDim)}
        names.append({axis: getattr(dim, "root", dim).__name__ for axis, dim in dims.items()})
    return names


def read_dims(
    program: torch.export.ExportedProgram,
    shapes: Sequence[Sequence[Size]],
    declared: Mapping[str, DeclaredDim],
) -> tuple[list[list[Size]], dict[str, Dim]]:
    """What became of the declared dimensions: those that are ``auto`` can be static.

    A dimension that the model ties to another, as ``a + b`` does, follows from that one.

    Args:
        program: What torch.export traced.
        shapes: The declared shape of each tensor that it takes.
        declared: The declared dimensions.

    Returns:
        The shapes, with numbers for dimensions that are static, and the ranges of the others.
    """
    auto = {name for name, dim in declared.items() if dim.auto}
    dims = {name: dim.range for name, dim in declared.items() if not dim.auto}
    if not auto:
        return [list(shape) for shape in shapes], dims
    values = input_values(program.graph, len(shapes))
    static: dict[str, int] = {}
    for size, name in _sizes(values, shapes):
        if not isinstance(name, str) or name not in auto:
            continue
        if isinstance(size, int) or size.node.expr.is_number:
            static[name] = int(size)
            continue
        traced = _range_of(program, size.node.expr, declared[name])
        dims[name] = dims[name].intersection(traced) if name in dims else traced
    tied = _tied(values, shapes, auto)
    for name, size in tied.items():
        affine = Affine.of(size)
        limits = SizeSymbol(affine).narrowed(dims[affine.dim], declared[name].range)
        dims[affine.dim] = dims[affine.dim].intersection(limits)
    solved: dict[str, Size] = {**tied, **static}
    for name in solved:
        dims.pop(name, None)
    return [
        [solved.get(size, size) if isinstance(size, str) else size for size in shape]
        for shape in shapes
    ], dims


def _sizes(values: Sequence[Any], shapes: Sequence[Sequence[Size]]) -> list[tuple[Any, Size]]:
    """The sizes of all tensors, each with its declaration."""
    return [
        pair
        for value, shape in zip(values, shapes, strict=True)
        for pair in zip(value.shape, shape, strict=True)
    ]


def _tied(
    values: Sequence[Any], shapes: Sequence[Sequence[Size]], auto: Collection[str]
) -> dict[str, str | Affine]:
    """The dimensions that follow from others, and how: torch knows both by one symbol."""
    symbolic: dict[str, tuple[sympy.Symbol, int, int]] = {}
    for size, name in _sizes(values, shapes):
        affine = _affine_size(size)
        if isinstance(name, str) and affine is not None:
            symbolic.setdefault(name, affine)
    bases: dict[sympy.Symbol, str] = {}
    tied: dict[str, str | Affine] = {}
    # The others follow from the finest; among equals, one with a declared range keeps its name.
    for name in sorted(symbolic, key=lambda name: (*symbolic[name][1:], name in auto)):
        symbol, step, start = symbolic[name]
        base = bases.setdefault(symbol, name)
        _, unit, first = symbolic[base]
        if base == name or step % unit:
            continue
        factor = step // unit
        tied[name] = _plain(Affine(base, factor, start - factor * first))
    return tied


def _affine_size(size: Any) -> tuple[sympy.Symbol, int, int] | None:
    """``(symbol, step, start)`` of a dynamic size; None of a static one, or of another form."""
    return None if isinstance(size, int) else affine_parts(size.node.expr)


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
    values = input_values(program.graph, len(labels))
    names = _symbol_names(values, labels, hints)
    shapes: list[list[Size]] = []
    for value in values:
        shape: list[Size] = []
        for size in value.shape:
            affine = _affine_size(size)
            if affine is None:
                shape.append(int(size))
            else:
                symbol, step, start = affine
                shape.append(_plain(Affine(names[symbol], step, start)))
        shapes.append(shape)
    undeclared = DeclaredDim()
    return shapes, {name: _range_of(program, symbol, undeclared) for symbol, name in names.items()}


def _symbol_names(
    values: Sequence[Any], labels: Sequence[str], hints: Sequence[Mapping[int, str]]
) -> dict[sympy.Symbol, str]:
    """A name for each symbol in the sizes of these tensors, all different."""
    names: dict[sympy.Symbol, str] = {}
    # A size that is just a symbol names it; only then can others be derived from it.
    for plain in (True, False):
        for value, label, hint in zip(values, labels, hints, strict=True):
            for axis, size in enumerate(value.shape):
                affine = _affine_size(size)
                if affine is None or affine[0] in names or (affine[1:] == (1, 0)) is not plain:
                    continue
                place = re.sub(r"\W+", "_", label).strip("_")
                wanted = hint.get(axis) or f"{place}_dim{axis}" + "_base" * (not plain)
                names[affine[0]] = _free(wanted, names.values())
    return names


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _range_of(
    program: torch.export.ExportedProgram, expression: sympy.Expr, declared: DeclaredDim
) -> Dim:
    traced = program.range_constraints.get(expression)
    low, high = declared.min, declared.max
    if traced is not None:
        # Tracing supposes that a dynamic size is neither 0 nor 1; the code mostly serves both.
        # Nothing is supposed of a size without a hint, such as u0, of a ShapesSpec.
        supposed = 2 if str(expression).startswith("s") else 0
        low = max(low, int(traced.lower)) if traced.lower > supposed else low
        if traced.upper != int_oo and traced.upper < sympy.oo:
            high = int(traced.upper) if high is None else min(high, int(traced.upper))
    return Dim(low, high)
