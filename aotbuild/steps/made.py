"""The size of what a step has made, for who watches the build."""

from __future__ import annotations

import json
from pathlib import Path

from aotbuild.interpreter import ENGINE
from aotbuild.steps.artifacts.library import COMPUTED_WEIGHTS, LIBRARY

_FILES = {"engine": (ENGINE,), "compile": (LIBRARY, COMPUTED_WEIGHTS)}
"""The files that count of steps which write into one directory with others."""

_WHOLE = {"export", "bundle"}
"""Steps that have a directory of their own."""


def size_of(step: str, spec_file: Path) -> int:
    """The bytes of what a step has made; 0 where they are of no interest.

    Args:
        step: Its name.
        spec_file: Its specification.
    """
    if step not in _WHOLE and step not in _FILES:
        return 0
    output = Path(json.loads(spec_file.read_text(encoding="utf-8"))["output"])
    files = output.rglob("*") if step in _WHOLE else (output / name for name in _FILES[step])
    return sum(file.stat().st_size for file in files if file.is_file())
