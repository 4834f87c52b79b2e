"""The call that the build recorded with the eager result: what else gives is compared with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .manifest import Constant, Expected, SelfTest


def differences(
    outputs: Sequence[Any], recorded: SelfTest, stored: Callable[[Constant], Any]
) -> tuple[float, str]:
    """Compare the outputs of a library with the recorded ones.

    Args:
        outputs: Tensors, or arrays of the engine.
        recorded: The recorded call.
        stored: Gives a recorded tensor of the same kind.

    Returns:
        The largest difference, and what is wrong; empty where nothing is.
    """
    worst, reason = 0.0, ""
    for entry in recorded.outputs:
        expected, actual = stored(entry.tensor), outputs[entry.index]
        if _described(actual) != _described(expected):
            reason = f"output {entry.index} has the wrong shape or dtype"
            continue
        difference, within = _compared(_flat(actual), _flat(expected), entry)
        worst = max(worst, difference)
        if not within:
            reason = f"output {entry.index} differs from the eager model's by {worst:.3g}"
    return worst, reason


def _described(array: Any) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a tensor of torch, or of an array of the engine."""
    return tuple(array.shape), str(array.dtype).removeprefix("torch.")


def _flat(array: Any) -> list[Any]:
    """The numbers of a tensor or of an array."""
    values = array.tolist()
    for _ in range(len(array.shape) - 1):
        values = [value for row in values for value in row]
    return values if array.shape else [values]


def _compared(actual: list[Any], expected: list[Any], entry: Expected) -> tuple[float, bool]:
    """The largest difference, and whether all are as small as they have to be."""
    worst, within = 0.0, True
    for got, want in zip(actual, expected, strict=True):
        if got == want or want != want:  # noqa: PLR0124  # NaN, for which any value will do
            continue
        difference = abs(got - want)
        if math.isnan(difference):
            difference = math.inf
        size = abs(want) if abs(want) < math.inf else 0.0
        worst = max(worst, difference)
        within = within and difference <= entry.atol + entry.rtol * size
    return worst, within
