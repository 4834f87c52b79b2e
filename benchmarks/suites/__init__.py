"""The suites by name; each returns tables, and is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tables import Table


@dataclass(frozen=True)
class Request:
    """What a user asks for."""

    model: str
    """Name of a case, or the start of one; empty for all."""
    rounds: int
    """How often the arms take turns; 0 for the suite's own number."""
    together: bool
    """All arms in one process."""
    machine: dict[str, Any]


SUITES = {
    "latency": "time of a call of a usual model",
    "standalone": "wheels that need no torch, beside those that do and other runtimes",
    "cold_start": "fresh process to first result",
    "overhead": "time of a call of a model that does next to nothing",
    "gil": "what a second thread of Python achieves",
    "memory": "of 1 and 4 processes",
    "throughput": "of two threads on two cores",
    "size": "of what is shipped and installed",
    "build": "time of `pip wheel`",
    "imports": "time of the import of a model",
    "levels": "gains of CPU levels",
    "state": "time of a step of a model with a state",
    "zoo": "time of a call of networks that no pass was written for, by batch and threads",
    "weights": "memory of three processes with 400 MB of weights",
}


def suite(name: str) -> Callable[[Request], list[Table]]:
    """The function that measures a suite."""
    run: Callable[[Request], list[Table]] = importlib.import_module(f"suites.{name}").run
    return run
