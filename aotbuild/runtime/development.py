"""A package that ``aotbuild develop`` installed tells where it is older than its sources.

Wheels do not have this module.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

FILE = "development.json"
"""What each model was made of. Written by the build, beside the modules of the package."""

_SHOWN = 3


def warn_if_older(package: Path, name: str) -> None:
    """Warn once where files of the project were changed since its models were made of them.

    Args:
        package: Directory of the package.
        name: Its import name.
    """
    try:
        told = json.loads((package / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is being installed
        return
    older = _older(told)
    if older:
        them = "it" if len(older) == 1 else "them"
        warnings.warn(
            f'{name}: {shown(older)}; "aotbuild develop{told["options"]}" brings {them} up to date',
            RuntimeWarning,
            stacklevel=3,
        )


def older_models(package: Path) -> dict[str, list[str]]:
    """The models that are older than files of the project, with the names of these.

    Args:
        package: Directory of the package.
    """
    return _older(json.loads((package / FILE).read_text(encoding="utf-8")))


def shown(older: dict[str, list[str]]) -> str:
    """Models that are older than files, in words."""
    files = list(dict.fromkeys(file for changed in older.values() for file in changed))
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    verb = "is" if len(older) == 1 else "are"
    return f"{', '.join(older)} {verb} older than {', '.join(files[:_SHOWN])}{more}"


def _older(told: dict[str, Any]) -> dict[str, list[str]]:
    changed = {model: _changed(told["project"], files) for model, files in told["models"].items()}
    return {model: files for model, files in changed.items() if files}


def _changed(project: str, files: dict[str, list[int]]) -> list[str]:
    """Those files that are not as they were: of another size or time, or gone."""
    return [
        name
        for name, (size, modified) in files.items()
        if _state(f"{project}/{name}") != (size, modified)
    ]


def _state(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  # at each import, where pathlib costs more
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
