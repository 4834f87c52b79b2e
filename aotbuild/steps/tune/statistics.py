"""Medians and how certain they are."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Estimate(NamedTuple):
    """A median with its 95% interval."""

    median: float
    low: float
    high: float

    def text(self, digits: int = 3) -> str:
        """The median, and how far the interval reaches."""
        return (
            f"{number(self.median, digits)} "
            f"[{number(self.low, digits)}, {number(self.high, digits)}]"
        )


def estimate(values: Sequence[float]) -> Estimate:
    """The median of values and its 95% interval by order statistics, for any distribution."""
    ordered = sorted(values)
    n = len(ordered)
    rank = max(0, math.floor(n / 2 - 0.98 * math.sqrt(n)))
    return Estimate(statistics.median(ordered), ordered[rank], ordered[n - 1 - rank])


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """What one of two arms takes by the other, round by round: a drift hits both."""
    return estimate([a / b for a, b in zip(ours, theirs, strict=True)])


def number(value: float, digits: int = 3) -> str:
    """A number with so many digits that count."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
