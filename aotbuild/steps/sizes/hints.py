"""Hints: the sizes that a program is lowered for.

A program of torch.export is right for all sizes in its ranges. Beside each symbol it keeps the
size that its example had, the hint, by which Inductor decides when it asks about a size. What was
decided becomes a guard: with another hint, another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import sympy
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from aotbuild.steps.sizes.symbols import SizeSymbol, affine_parts

_BACKED = hasattr(ShapeEnv, "add_backed_var_to_val")  # what they are called since torch 2.13
_ADDING = "add_backed_var_to_val" if _BACKED else "add_var_to_val"
_VALUES = "backed_var_to_val" if _BACKED else "var_to_val"


def hints_at(symbols: Mapping[str, SizeSymbol], sizes: Mapping[str, int]) -> dict[str, int]:
    """The hints of symbols, by their names, at these sizes of the dimensions."""
    return {name: symbol.at(sizes[symbol.dim]) for name, symbol in symbols.items()}


@contextlib.contextmanager
def hinted(hints: Mapping[str, int]) -> Iterator[None]:
    """Let a program that is loaded have these hints, and not those that it was saved with.

    They are replaced while it is read: once there are tensors, others were computed from them.
    Symbols keep their names in a saved program. Its example inputs keep their sizes, which for
    the CPU nothing looks at.
    """
    env: Any = ShapeEnv
    create, add = env.create_symintnode, getattr(env, _ADDING)

    def at(expression: Any, saved: Any) -> Any:
        symbols = sympy.sympify(expression).free_symbols
        known = {s: sympy.Integer(hints[str(s)]) for s in symbols if str(s) in hints}
        # A size that depends on data is made of symbols that have no hint.
        return int(expression.xreplace(known)) if symbols and len(known) == len(symbols) else saved

    def create_symintnode(self: Any, symbol: Any, *, hint: Any, **kwargs: Any) -> Any:
        return create(self, symbol, hint=at(symbol, hint), **kwargs)

    env.create_symintnode = create_symintnode
    setattr(env, _ADDING, lambda self, symbol, value: add(self, symbol, at(symbol, value)))
    try:
        yield
    finally:
        env.create_symintnode = create
        setattr(env, _ADDING, add)


@contextlib.contextmanager
def solved_hints() -> Iterator[None]:
    """Let a program that is loaded have a hint for each symbol of its inputs.

    torch 2.13 to 2.15: of an input whose size is ``2*rows``, a saved program keeps the hint of that
    product, and none of ``rows``, without which Inductor fails ("unexpected None!").
    ``test_hints.py`` notices when torch keeps both.
    """
    env: Any = ShapeEnv
    create, add = env.create_symintnode, getattr(env, _ADDING)

    def create_solved(self: Any, expression: Any, *, hint: Any, **kwargs: Any) -> Any:
        solve(self, sympy.sympify(expression), hint)
        return create(self, expression, hint=hint, **kwargs)

    def solve(self: Any, expression: Any, hint: Any) -> None:
        affine = None if hint is None or expression.is_Symbol else affine_parts(expression)
        if affine is None:
            return
        symbol, step, start = affine
        if symbol not in getattr(self, _VALUES) and (hint - start) % step == 0:
            add(self, symbol, (hint - start) // step)

    env.create_symintnode = create_solved
    try:
        yield
    finally:
        env.create_symintnode = create
