"""Memory of processes with much weight, see memory.py."""

from __future__ import annotations

import memory
from tables import Table

from suites import Request


def run(request: Request) -> list[Table]:
    """Measure."""
    return [
        Table(
            "Three processes with 400 MB of weights",
            [],
            bounds=memory.measure(request.rounds or memory.LAYERS),
        )
    ]
