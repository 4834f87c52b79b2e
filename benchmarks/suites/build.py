"""Time of ``pip wheel``, see build_time.py."""

from __future__ import annotations

import build_time
from tables import Table

from suites import Request


def run(request: Request) -> list[Table]:
    """Measure."""
    return [Table("pip wheel of the example", [], bounds=build_time.measure(request.rounds or 3))]
