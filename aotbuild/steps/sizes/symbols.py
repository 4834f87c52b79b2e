"""Torch's symbols in a traced program, in terms of the declared dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.utils._sympy.functions import FloorDiv

from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Input
from aotbuild.steps.sizes.conditions import condition_text


@dataclass(frozen=True)
class SizeSymbol:
    """What a symbol stands for: ``step * symbol = size``."""

    size: Affine
    step: int = 1

    @property
    def dim(self) -> str:
        """The dimension that the symbol follows from."""
        return self.size.dim

    @property
    def solved(self) -> sympy.Expr:
        """The symbol's value in terms of the dimension."""
        return self.exact if self.step == 1 else FloorDiv(self.exact * self.step, self.step)

    @property
    def exact(self) -> sympy.Expr:
        """The same as a fraction, which is whole for every size that the dimension can have."""
        dim = sympy.Symbol(self.dim, integer=True)
        return sympy.expand((self.size.factor * dim + self.size.offset) / self.step)

    def at(self, size: int) -> int:
        """The symbol's value for a size of the dimension, rounded down."""
        return self.size.at(size) // self.step

    def range_for(self, dim: Dim) -> Dim:
        """The range of the symbol, when the dimension has this one."""
        low = -(-self.size.at(dim.min) // self.step)
        return Dim(low, None if dim.max is None else self.at(dim.max))

    def narrowed(self, dim: Dim, symbol: Dim) -> Dim:
        """The range of the dimension, when its own is ``dim`` and the symbol has this one."""
        factor, offset = self.size.factor, self.size.offset
        whole = self.range_for(dim)
        low, high = dim.min, dim.max
        if symbol.min != whole.min:
            low = -((offset - self.step * symbol.min) // factor)
        if symbol.max is not None and symbol.max != whole.max:
            high = (self.step * symbol.max - offset) // factor
        return Dim(low, high, dim.multiple_of)


def dimension_symbols(
    graph: torch.fx.Graph, inputs: Sequence[Input]
) -> tuple[dict[sympy.Symbol, SizeSymbol], Any]:
    """The symbols behind the dynamic dimensions, and the ShapeEnv they belong to.

    Args:
        graph: A graph whose last placeholders are the inputs.
        inputs: The inputs, in the order of the placeholders.
    """
    sizes = [
        (size.node, Affine.of(declared))
        for value, spec in zip(input_values(graph, len(inputs)), inputs, strict=True)
        for size, declared in zip(value.shape, spec.shape, strict=True)
        if isinstance(size, torch.SymInt) and not isinstance(declared, int)
    ]
    symbols: dict[sympy.Symbol, SizeSymbol] = {}
    # In node.expr a size that equals another goes by the other's name, hence its own comes first.
    # In a program that was just traced, a multiple has a symbol of its own and one that it is made
    # of; in one that was loaded, only the latter.
    for expression, size in [
        *((node._expr, size) for node, size in sizes),
        *((node.expr, size) for node, size in sizes),
    ]:
        affine = affine_parts(expression)
        if affine is not None:
            symbol, step, start = affine
            shifted = Affine(size.dim, size.factor, size.offset - start)
            symbols.setdefault(symbol, SizeSymbol(shifted, step))
    return symbols, sizes[0][0].shape_env if sizes else None


def input_values(graph: torch.fx.Graph, count: int) -> list[Any]:
    """The fake tensors, with symbolic sizes, of the last ``count`` tensors that a graph takes."""
    values = [  # constant arguments have placeholders too
        node.meta["val"]
        for node in graph.nodes
        if node.op == "placeholder" and isinstance(node.meta["val"], torch.Tensor)
    ]
    return values[-count:] if count else []


def named(expression: sympy.Expr, symbols: Mapping[sympy.Symbol, SizeSymbol]) -> str:
    """A symbolic size in the names of the declaration, such as ``2*batch``."""
    values = {symbol: meaning.solved for symbol, meaning in symbols.items()}
    return condition_text(expression.xreplace(values))


def affine_parts(expression: sympy.Expr) -> tuple[sympy.Symbol, int, int] | None:
    """``(symbol, step, start)`` of ``step * symbol + start``, or None for another expression."""
    free = list(expression.free_symbols)
    if len(free) != 1:
        return None
    symbol = free[0]
    step = expression.coeff(symbol, 1)
    start = sympy.expand(expression - step * symbol)
    if not (step.is_Integer and start.is_Integer and step > 0):
        return None
    return symbol, int(step), int(start)
