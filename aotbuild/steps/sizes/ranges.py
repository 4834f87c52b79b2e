"""The sizes that compiled code is right for: Inductor may have silently assumed more than declared.

While it lowers a graph, Inductor asks questions about symbolic sizes, and remembers the answers as
guards. Compiled ahead of time, nothing evaluates these guards, and the code gives wrong results
where they do not hold. They are read back here: a guard on one dimension narrows its range, any
other becomes a condition that the generated module checks.

Sizes 0 and 1 are apart. Tracing always supposes that a dynamic size is neither, only to decide
that nothing is broadcast along it; the code mostly serves them all the same. They stay in the
range, and the step verify runs each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from aotbuild.runtime.dims import Dim
from aotbuild.runtime.manifest import Input
from aotbuild.steps.sizes.conditions import as_function
from aotbuild.steps.sizes.proofs import decided
from aotbuild.steps.sizes.symbols import SizeSymbol, dimension_symbols, named

_SCANNED = 1 << 14
_FAR = 1 << 40


@dataclass(frozen=True)
class Ranges:
    """What the compiled code accepts."""

    dims: dict[str, Dim]
    conditions: list[str]
    """Python expressions over the names of the dimensions."""


def compiled_ranges(
    graph: torch.fx.Graph,
    inputs: Sequence[Input],
    declared: Mapping[str, Dim],
    example: Mapping[str, int],
) -> Ranges:
    """Read the guards of a compiled graph.

    Args:
        graph: The graph that Inductor compiled.
        inputs: The inputs, in the order of the graph's placeholders.
        declared: The declared ranges.
        example: The sizes that the graph was traced with, which satisfy every guard.
    """
    symbols, shape_env = dimension_symbols(graph, inputs)
    if shape_env is None:
        return Ranges(dict(declared), [])
    dims = dict(declared)
    conditions: list[str] = []
    for assumption in _assumptions(shape_env, symbols):
        free = sorted(assumption.free_symbols, key=str)
        of_symbol = {
            symbol: symbols[symbol].range_for(dims[symbols[symbol].dim]) for symbol in free
        }
        traced = {symbol: _as_range(dim) for symbol, dim in of_symbol.items()}
        if decided(assumption, traced):
            continue
        if len(free) == 1:
            meaning = symbols[free[0]]
            part = _narrow(assumption, of_symbol[free[0]], meaning.at(example[meaning.dim]))
            if part is not None:
                dims[meaning.dim] = meaning.narrowed(dims[meaning.dim], part)
                continue
        condition = named(assumption, symbols)
        if condition != "True":  # as between two symbols of one name
            conditions.append(condition)
    for symbol, meaning in symbols.items():
        if symbol in shape_env.var_to_range:
            dim = dims[meaning.dim]
            part = _capped(meaning.range_for(dim), shape_env.var_to_range[symbol].upper)
            dims[meaning.dim] = meaning.narrowed(dim, part)
    return Ranges(dims, sorted(set(conditions)))


def _assumptions(shape_env: Any, symbols: Mapping[sympy.Symbol, SizeSymbol]) -> list[sympy.Basic]:
    # In a program that was just traced, the symbol of a multiple is replaced by what it is made of.
    guards = [sympy.sympify(shape_env.replace(guard.expr)) for guard in shape_env.guards]
    # Once two sizes are known to be equal, one symbol stands for both and guards no longer say so.
    guards += [
        sympy.Eq(symbol, shape_env.replace(symbol))
        for symbol in symbols
        if shape_env.replace(symbol) != symbol
    ]
    known = [e for e in guards if e.free_symbols and e.free_symbols <= set(symbols)]
    return [e for e in known if not _always_equal(e, symbols)]


def _always_equal(assumption: sympy.Basic, symbols: Mapping[sympy.Symbol, SizeSymbol]) -> bool:
    """Whether an equation holds by itself, as between the two symbols that a multiple has."""
    if not isinstance(assumption, sympy.Eq):
        return False
    exact = {symbol: meaning.exact for symbol, meaning in symbols.items()}
    return bool(sympy.expand((assumption.lhs - assumption.rhs).xreplace(exact)) == 0)


def _as_range(dim: Dim) -> ValueRanges[Any]:
    return ValueRanges(max(dim.min, 2), int_oo if dim.max is None else max(dim.max, 2))


def _narrow(assumption: sympy.Basic, dim: Dim, example: int) -> Dim | None:
    """The part of ``dim`` in which an assumption holds, or None when that is no single range."""
    accepts = as_function(assumption, list(assumption.free_symbols))
    first = max(dim.min, 2)
    last = _FAR if dim.max is None else dim.max
    scanned = min(last, max(first + _SCANNED, 2 * example))
    fits = [size for size in range(first, scanned + 1) if accepts(size)]
    if not fits or len(fits) != fits[-1] - fits[0] + 1 or not fits[0] <= example <= fits[-1]:
        return None
    low = dim.min if fits[0] == first else fits[0]
    high = fits[-1]
    if high == scanned and scanned < last:
        # Beyond what was tried one by one, the assumption is taken to change once at most.
        high = last if accepts(last) else _last_that_holds(accepts, scanned, last)
    return Dim(low, None if high == _FAR else high)


def _last_that_holds(accepts: Any, low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if accepts(middle) else (low, middle)
    return low


def _capped(dim: Dim, upper: Any) -> Dim:
    if upper == int_oo or (dim.max is not None and upper >= dim.max):
        return dim
    return Dim(dim.min, int(upper))
