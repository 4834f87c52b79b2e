"""Suppositions: of the sizes that a model derives, torch is let suppose what it does of its inputs.

torch supposes that no size of an input is 0 or 1, only to decide on layouts and on what is broadcast.
Of a size that it derives, as the frames of a signal, it asks, and guards the answer: a range in
which there can be one frame is refused. Here it is told that the size is not 1, when its own code
asks. The sizes at which that is not so are noted: what was traced is run there.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

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
_STRIDES = {"is_contiguous", "is_contiguous_or_false", "_compute_stride", "_is_contiguous"}


@contextlib.contextmanager
def supposing() -> Iterator[list[sympy.Ne]]:
    """Let torch suppose of derived sizes that they are neither 0 nor 1.

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
        condition = self.simplify(expr)
        if not isinstance(condition, sympy.Eq | sympy.Ne):
            return known
        differ = sympy.Ne(*condition.args)
        if not (_is_small(differ) and _holds_in_example(differ, self)):
            return known
        if not _asked_by_torch(sys._getframe(1)):
            return known
        if differ not in supposed:
            supposed.append(differ)
        return sympy.sympify(isinstance(condition, sympy.Ne))

    evaluate.cache_clear = original.cache_clear  # type: ignore[attr-defined]
    env._maybe_evaluate_static = evaluate
    try:
        yield supposed
    finally:
        env._maybe_evaluate_static = original


def _is_small(differ: sympy.Ne) -> bool:
    """Whether a size is compared with 0 or 1, or a multiple of it with that multiple."""
    size, number = differ.args
    if size.is_Integer:
        size, number = number, size
    if not number.is_Integer:
        return False
    factor, _ = size.as_coeff_Mul()
    return bool(number == 0 or number in {1, factor})


def _holds_in_example(differ: sympy.Ne, env: Any) -> bool:
    hints = getattr(env, "backed_var_to_val", None) or getattr(env, "var_to_val", {})
    return sympy.sympify(differ.xreplace(dict(hints))) == sympy.true


def _asked_by_torch(frame: FrameType | None) -> bool:
    """Whether torch's own code asks, and not the model's, whose branches are its own."""
    while frame is not None and frame.f_code.co_filename.startswith(_ASKING):
        frame = frame.f_back
    if frame is None:
        return False
    name = frame.f_code.co_filename
    return name.startswith(_TORCH) and not name.startswith(f"{_TORCH}/nn/")
