"""Stamps: files that steps write last, by which Ninja knows that these steps are done.

No step reads one. What the step read besides its specification stands in the depfile beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from aotbuild.steps.files import write_depfile, write_text

EXPORTED = "exported.json"
ENGINE_COMPILED = "engine.json"
BUNDLED = "bundled.json"


def write_exported(directory: Path, dependencies: Iterable[Path]) -> None:
    """Note that a model was exported from these files."""
    write_depfile(directory / EXPORTED, dependencies)
    write_text(directory / EXPORTED, "{}\n")


def write_engine_compiled(directory: Path, reason: str) -> None:
    """Note that the engine is compiled, or for what reason there is none."""
    write_depfile(directory / ENGINE_COMPILED, [])
    write_text(directory / ENGINE_COMPILED, json.dumps({"without": reason}) + "\n")


def write_bundled(build: Path, summary: Sequence[str]) -> None:
    """Note that the package is written, and the lines that the log has about its models."""
    write_depfile(build / BUNDLED, [])
    write_text(build / BUNDLED, json.dumps({"models": summary}, indent=1) + "\n")
