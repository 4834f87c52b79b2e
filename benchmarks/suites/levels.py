"""Gains of CPU levels, see cpu_levels.py."""

from __future__ import annotations

import cpu_levels
from tables import Table

from suites import Request


def run(request: Request) -> list[Table]:
    """Measure."""
    return [Table("CPU levels", [], bounds=cpu_levels.measure(request.rounds or 50))]
