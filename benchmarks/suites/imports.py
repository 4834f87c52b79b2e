"""Time of the import of a model, see import_time.py."""

from __future__ import annotations

import import_time
from tables import Table

from suites import Request


def run(request: Request) -> list[Table]:
    """Measure."""
    return [Table("Import of a model", [], bounds=import_time.measure(request.rounds or 15))]
