"""What a suite found, before it is written anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from common import Row


@dataclass
class Chart:
    """Bars with intervals: label, median, low, high."""

    title: str
    unit: str
    bars: list[tuple[str, float, float, float]] = field(default_factory=list)


@dataclass
class Table:
    """What a suite found."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    bounds: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    """The same as ``rows``, with every single value."""
    charts: list[Chart] = field(default_factory=list)
