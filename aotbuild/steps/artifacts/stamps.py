"""Stamps: files that steps write last, by which Ninja knows that these steps are done.

What a step read besides its specification stands in the depfile beside its stamp, for Ninja. The
stamp of an export tells it, too, for packages that ``aotbuild develop`` installs; no step reads the
others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from aotbuild.steps.files import write_depfile, write_text

EXPORTED = "exported.json"
ENGINE_COMPILED = "engine.json"
BUNDLED = "bundled.json"

_COARSE = 20_000_000
"""Nanoseconds by which the clock of a file system may be behind that of Python."""


def write_exported(directory: Path, dependencies: Iterable[Path], began: int) -> None:
    """Note that a model was exported from these files.

    Args:
        directory: The directory of the export.
        dependencies: The files.
        began: When the export began, in nanoseconds since 1970.
    """
    paths = sorted({path.absolute() for path in dependencies})
    write_depfile(directory / EXPORTED, paths)
    states = {str(path): _state(path, began) for path in paths}
    write_text(directory / EXPORTED, json.dumps({"read": states}, indent=1) + "\n")


def read_exported(directory: Path) -> dict[str, list[int]]:
    """The files that a model was exported from, absolute, with their sizes and times then."""
    states: dict[str, list[int]] = json.loads((directory / EXPORTED).read_text("utf-8"))["read"]
    return states


def _state(path: Path, began: int) -> list[int]:
    found = path.stat()
    # One that was changed meanwhile may have been read before: it counts as changed.
    changed = began - _COARSE <= found.st_mtime_ns <= time.time_ns()
    return [-1, -1] if changed else [found.st_size, found.st_mtime_ns]


def write_engine_compiled(directory: Path, reason: str) -> None:
    """Note that the engine is compiled, or for what reason there is none."""
    write_depfile(directory / ENGINE_COMPILED, [])
    write_text(directory / ENGINE_COMPILED, json.dumps({"without": reason}) + "\n")


def write_bundled(build: Path, summary: Sequence[str]) -> None:
    """Note that the package is written, and the lines that the log has about its models."""
    write_depfile(build / BUNDLED, [])
    write_text(build / BUNDLED, json.dumps({"models": summary}, indent=1) + "\n")
