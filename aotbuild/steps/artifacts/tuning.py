"""What steps measured: the recipe that is chosen, and the CPU levels that are left out.

The choice is a file of its own, on which the compile depends: a recipe that stays leaves what was
compiled by it. The figures are tables of the lock file (``tune.lock`` reads them).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from aotbuild.steps.files import write_depfile, write_if_changed, write_text

RECIPE = "recipe.json"
TUNED = "tuned.json"
LEVELS = "levels.json"

_LOCK = "lock"
_LEFT_OUT = "left-out"


def write_tuned(directory: Path, recipe: str, lock: dict[str, Any] | None) -> None:
    """Write what the step tune found.

    Args:
        directory: Where the files go.
        recipe: The name of the recipe that is chosen.
        lock: What was measured, as a table of the lock file; None where nothing was.
    """
    write_if_changed(directory / RECIPE, json.dumps({"recipe": recipe}) + "\n")
    table: dict[str, Any] = {"recipe": recipe}
    if lock is not None:
        table[_LOCK] = lock
    write_depfile(directory / TUNED, [])
    write_text(directory / TUNED, json.dumps(table, indent=1) + "\n")


def read_recipe(path: Path) -> str:
    """The name of the recipe that the step tune chose."""
    name: str = json.loads(path.read_text(encoding="utf-8"))["recipe"]
    return name


def write_levels(path: Path, dropped: Sequence[str], lock: dict[str, Any]) -> None:
    """Write what the step levels found.

    Args:
        path: The file.
        dropped: Directories of the variants that are left out, as the specification names them.
        lock: What was measured, as a table of the lock file.
    """
    write_depfile(path, [])
    write_text(path, json.dumps({_LEFT_OUT: dropped, _LOCK: lock}, indent=1) + "\n")


def left_out(files: Sequence[str]) -> set[str]:
    """The variants that these outputs of the step levels leave out."""
    return {
        path
        for file in files
        for path in json.loads(Path(file).read_text(encoding="utf-8"))[_LEFT_OUT]
    }


def measured(files: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of these outputs of the steps tune and levels that have figures, and the figures."""
    for file in files:
        table = json.loads(Path(file).read_text(encoding="utf-8"))
        if _LOCK in table:
            yield file, table[_LOCK]
