"""Suppositions: torch may suppose of sizes that a model derives what it does of its inputs.

torch supposes that no size of an input is 0 or 1, only to decide on layouts and on broadcasting.
Of a size that it derives, as the frames of a signal, it asks, and guards the answer: a range in
which there can be one frame is refused. Here it is told that the size is not 1, when its own code
asks. The sizes at which that is not so are noted: what was traced is run there.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from aotbuild.runtime.dims import Dim
from aotbuild.steps.sizes.conditions import as_function
from aotbuild.steps.sizes.proofs import decided
from aotbuild.steps.sizes.symbols import SizeSymbol

_TORCH = str(Path(torch.__file__).parent)
_ASKING = (
    f"{_TORCH}/fx/experimental/",
    f"{_TORCH}/utils/_sympy/",
    f"{_TORCH}/_inductor/sizevars.py",
    f"{_TORCH}/__init__.py",
    __file__,
    str(Path(__file__).with_name("proofs.py")),
)
"""What stands between a question and whoever asks it."""
_NOT_LAYOUTS = (f"{_TORCH}/nn/", f"{_TORCH}/export/", f"{_TORCH}/_export/")
"""Layers, whose branches are a model's, and what tells in the end which guards a trace has."""
_SCANNED = 1 << 14
"""How many sizes of a range are tried."""


@contextlib.contextmanager
def supposing(allowed: Callable[[sympy.Ne], bool]) -> Iterator[list[sympy.Ne]]:
    """Let torch suppose of derived sizes that they are neither 0 nor 1.

    Args:
        allowed: Whether something may be supposed.

    Yields:
        What was supposed.
    """
    env: Any = ShapeEnv
    original = getattr(env, "_maybe_evaluate_static", None)
    supposed: list[sympy.Ne] = []
    if original is None:  # another torch: it refuses more than it has to
        yield supposed
        return

    def evaluate(self: Any, expr: Any, *args: Any, **kwargs: Any) -> Any:
        known = original(self, expr, *args, **kwargs)
        if known is not None or args or any(kwargs.values()):
            return known
        question = _question(self.simplify(expr), self.var_to_range)
        if question is None:
            return known
        differ, answer = question
        if not (_holds_in_example(differ, self) and _asked_by_torch(sys._getframe(1))):
            return known
        if differ not in supposed:
            if not allowed(differ):
                return known
            supposed.append(differ)
        return sympy.sympify(answer)

    evaluate.cache_clear = original.cache_clear  # type: ignore[attr-defined]
    env._maybe_evaluate_static = evaluate
    try:
        yield supposed
    finally:
        env._maybe_evaluate_static = original


def exceptions(
    supposed: Sequence[sympy.Ne],
    symbols: Mapping[sympy.Symbol, SizeSymbol],
    dims: Mapping[str, Dim],
    example: Mapping[str, int],
) -> list[dict[str, int]]:
    """Sizes at which what was supposed does not hold, for each of it the smallest and the largest.

    What is supposed of a product of several dimensions fails where each is at its smallest.

    Args:
        supposed: What was supposed of torch's symbols.
        symbols: What these stand for.
        dims: The ranges of the dimensions.
        example: The size of each in the example.
    """
    cases: list[dict[str, int]] = []
    for differ in supposed:
        names = {symbols[symbol].dim for symbol in differ.free_symbols if symbol in symbols}
        if len(names) != 1:
            continue
        (name,) = names
        dim = dims[name]
        last = dim.min + _SCANNED * dim.multiple_of if dim.max is None else dim.max
        each = islice(range(dim.min, last + 1, dim.multiple_of), _SCANNED)
        failing = [size for size in each if fails_at(differ, symbols, {**example, name: size})]
        cases += [{**example, name: size} for size in dict.fromkeys(failing[:1] + failing[-1:])]
    return cases


def fails_at(
    differ: sympy.Ne, symbols: Mapping[sympy.Symbol, SizeSymbol], sizes: Mapping[str, int]
) -> bool:
    """Whether what was supposed does not hold at these sizes of the dimensions.

    Args:
        differ: Two expressions that were supposed to differ.
        symbols: What their symbols stand for.
        sizes: The size of each dimension.
    """
    free = sorted(differ.free_symbols, key=str)
    if not set(free) <= set(symbols):
        return False
    values = [symbols[symbol].at(sizes[symbols[symbol].dim]) for symbol in free]
    return not as_function(differ, free)(*values)


def _question(condition: Any, sizes: Any) -> tuple[sympy.Ne, bool] | None:
    """Whether it is asked if a size is 0, 1, or all of another: that it is not, and the answer."""
    if not isinstance(condition, sympy.core.relational.Relational):
        return None
    condition = _compared_with_one(condition)
    size, number = map(sympy.factor, condition.args)
    if size.is_Integer:
        size, number = number, size
    if number != 0 and not any(map(_is_whole, (size / number, number / size))):
        if _is_part(size, number, sizes):
            size, number = number, size
        elif not _is_part(number, size, sizes):
            return None
    differ = sympy.Ne(size, number)
    if isinstance(condition, sympy.Eq | sympy.Ne):
        return differ, isinstance(condition, sympy.Ne)
    if not decided(sympy.Ge(size, number), sizes):
        return None
    left, right = map(sympy.factor, condition.args)
    larger = condition.func in {sympy.StrictGreaterThan, sympy.StrictLessThan}
    first = condition.func in {sympy.StrictGreaterThan, sympy.LessThan}
    # ``size > number`` and ``number < size`` hold where they differ, ``size <= number`` does not.
    if (left, right) == ((size, number) if first else (number, size)):
        return differ, larger
    return None


def _compared_with_one(condition: Any) -> Any:
    """A comparison with 1 in place of one with 2: torch writes ``size > 1`` as ``size >= 2``."""
    left, right = condition.args
    others = {
        sympy.GreaterThan: (right == 2, sympy.StrictGreaterThan, left, 1),
        sympy.StrictLessThan: (right == 2, sympy.LessThan, left, 1),
        sympy.LessThan: (left == 2, sympy.StrictLessThan, 1, right),
        sympy.StrictGreaterThan: (left == 2, sympy.GreaterThan, 1, right),
    }
    is_two, kind, *sides = others.get(condition.func, (False, None))
    return kind(*sides, evaluate=False) if is_two and kind is not None else condition


def _is_part(part: sympy.Expr, whole: sympy.Expr, sizes: Any) -> bool:
    """Whether one size is at most another one, as that of a slice, which may be all there is."""
    free = part.free_symbols
    return len(free) == 1 and free == whole.free_symbols and decided(part <= whole, sizes) is True


def _is_whole(ratio: sympy.Expr) -> bool:
    """Whether what two sizes are compared for is whether their ratio is 1."""
    return bool(sympy.fraction(ratio)[1] == 1)


def _holds_in_example(differ: sympy.Ne, env: Any) -> bool:
    hints = getattr(env, "backed_var_to_val", None) or getattr(env, "var_to_val", {})
    return bool(sympy.sympify(differ.xreplace(dict(hints))) == sympy.true)


def _asked_by_torch(frame: FrameType | None) -> bool:
    """Whether torch's own code asks, and not the model's, whose branches are its own."""
    while frame is not None and frame.f_code.co_filename.startswith(_ASKING):
        frame = frame.f_back
    if frame is None:
        return False
    name = frame.f_code.co_filename
    return name.startswith(_TORCH) and not name.startswith(_NOT_LAYOUTS)
