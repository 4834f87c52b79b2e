"""Checks of the files that a declaration names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from aotbuild.config.messages import closest, located
from aotbuild.config.values import RANDOM
from aotbuild.errors import ConfigError


def check_file(name: str, kind: str, path: str, root: Path) -> None:
    """Check that a file is there.

    Args:
        name: Its path, relative to the project.
        kind: What it holds.
        path: Dotted path of the key that names it.
        root: Directory of the project.

    Raises:
        ConfigError: It does not exist, or is a directory.
    """
    file = root / name
    if file.is_file():
        return
    state = "is a directory" if file.is_dir() else "does not exist"
    parent = file.parent
    nearby = [p.name for p in parent.iterdir() if p.is_file()] if parent.is_dir() else []
    likely = closest(file.name, nearby) if PurePosixPath(name).name else ""
    fix = "put the file there, or correct the path (it is relative to pyproject.toml)"
    if likely:
        fix = f'did you mean "{PurePosixPath(name).with_name(likely)}"?'
    elif kind == "weights" and name.lower() in _NO_FILE:
        fix = f'for weights as the class initialises them: weights = "{RANDOM}"'
    raise ConfigError(f'the {kind} file "{name}" {state}', where=located(path), fix=fix)


_NO_FILE = {RANDOM, "rand", "none", "init", "default", "untrained"}
"""What is written where there is no file of weights."""
