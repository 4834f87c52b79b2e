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

from aotbuild.steps.sizes.symbols import SizeSymbol


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
    # What torch called it before 2.13.
    adding = "add_backed_var_to_val" if hasattr(env, "add_backed_var_to_val") else "add_var_to_val"
    create, add = env.create_symintnode, getattr(env, adding)

    def at(expression: Any, saved: Any) -> Any:
        symbols = sympy.sympify(expression).free_symbols
        known = {s: sympy.Integer(hints[str(s)]) for s in symbols if str(s) in hints}
        # A size that depends on data is made of symbols that have no hint.
        return int(expression.xreplace(known)) if symbols and len(known) == len(symbols) else saved

    def create_symintnode(self: Any, symbol: Any, *, hint: Any, **kwargs: Any) -> Any:
        return create(self, symbol, hint=at(symbol, hint), **kwargs)

    env.create_symintnode = create_symintnode
    setattr(env, adding, lambda self, symbol, value: add(self, symbol, at(symbol, value)))
    try:
        yield
    finally:
        env.create_symintnode = create
        setattr(env, adding, add)
