"""How long steps took, beside their specifications: for the report of the build alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from aotbuild.steps.files import write_text

_SUFFIX = ".time"
"""Of the file, in place of that of the specification."""


@dataclass(frozen=True)
class StepTime:
    """How long a step took when it ran last."""

    seconds: float
    cached: bool
    """Whether the cache had its result."""


def write_time(spec: Path, seconds: float, *, cached: bool) -> None:
    """Note how long a step took.

    Args:
        spec: Its specification file.
        seconds: The time.
        cached: Whether the cache had its result.
    """
    text = json.dumps({"seconds": round(seconds, 3), "cached": cached}) + "\n"
    write_text(spec.with_suffix(_SUFFIX), text)


def read_time(spec: Path) -> StepTime | None:
    """How long the step with this specification took; None where it has not run to its end."""
    try:
        return StepTime(**json.loads(spec.with_suffix(_SUFFIX).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
