"""The sizes that compiled code is right for: Inductor may have silently assumed more than declared.

While it lowers a graph, Inductor asks questions about symbolic sizes, and remembers the answers as
guards. Compiled ahead of time, nothing evaluates these guards, and the code gives wrong results
where they do not hold. They are read back here: a guard on one dimension narrows its range, any
other becomes a condition that the generated module checks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.utils._sympy.printers import PythonPrinter

from aotbuild.runtime.manifest import Dim, Input

_SCANNED = 1 << 14


@dataclass(frozen=True)
class Ranges:
    """What the compiled code accepts."""

    dims: dict[str, Dim]
    conditions: list[str]
    """Python expressions over the names of the dimensions."""


def compiled_ranges(
    graph: torch.fx.GraphModule,
    inputs: Iterable[Input],
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
    symbols: dict[Any, str] = {}
    shape_env = None
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    for node, spec in zip(placeholders, inputs, strict=True):
        for size, want in zip(node.meta["val"].shape, spec.shape, strict=True):
            if isinstance(size, torch.SymInt) and isinstance(want, str):
                symbols.setdefault(size.node.expr, want)
                shape_env = size.node.shape_env
    if shape_env is None:
        return Ranges(dict(declared), [])
    dims = dict(declared)
    conditions: list[str] = []
    for guard in shape_env.guards:
        expression = shape_env.simplify(guard.expr)
        free = expression.free_symbols
        if not free or not free <= set(symbols):
            continue
        named = expression.subs({symbol: sympy.Symbol(symbols[symbol], integer=True) for symbol in free})
        names = sorted({symbols[symbol] for symbol in free})
        if len(names) == 1:
            narrowed = _narrow(_predicate(expression), dims[names[0]], example[names[0]])
            if narrowed is not None:
                dims[names[0]] = narrowed
                continue
        conditions.append(PythonPrinter().doprint(named))
    for symbol, name in symbols.items():
        upper = shape_env.var_to_range[symbol].upper if hasattr(shape_env, "var_to_range") else None
        dims[name] = _capped(dims[name], upper)
    return Ranges(dims, sorted(set(conditions)))


def _predicate(expression: Any) -> Callable[[int], bool]:
    (symbol,) = expression.free_symbols
    return lambda size: bool(expression.subs({symbol: size}))


def _narrow(holds: Callable[[int], bool], dim: Dim, example: int) -> Dim | None:
    """The part of ``dim`` in which a predicate holds, or None when that is no single range."""
    last = dim.max if dim.max is not None else max(_SCANNED, 4 * example)
    sizes: Iterable[int] = range(dim.min, min(last, dim.min + _SCANNED) + 1)
    fits = [size for size in sizes if holds(size)]
    if not fits or not holds(example):
        return None
    low, high = fits[0], fits[-1]
    if len(fits) != high - low + 1:
        return None
    reaches_end = high == min(last, dim.min + _SCANNED)
    if reaches_end and (dim.max is None or high < dim.max):
        # Beyond what was tried one by one, trust a monotone guard at its far end.
        far = dim.max if dim.max is not None else 1 << 40
        if not holds(far):
            far = _last_that_holds(holds, high, far)
            return Dim(low, far)
        return Dim(low, dim.max)
    return Dim(low, high)


def _last_that_holds(holds: Callable[[int], bool], low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _capped(dim: Dim, upper: Any) -> Dim:
    # A symbol's lower end is 2 even where 1 is fine; only its upper end tells something.
    if upper is None or not getattr(upper, "is_Integer", isinstance(upper, int)):
        return dim
    limit = int(upper)
    if limit >= 1 << 60 or (dim.max is not None and limit >= dim.max):
        return dim
    return Dim(dim.min, limit)
