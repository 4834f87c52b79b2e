"""What ``aotbuild develop`` installs tells of which files it was made."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from aotbuild.config.develop import COMPILED
from aotbuild.runtime.development import FILE
from aotbuild.steps.artifacts.stamps import read_exported
from aotbuild.steps.package.parts import Part


def write_development(directory: Path, parts: Sequence[Part], project: Path, mode: str) -> None:
    """Write the sizes and times of the files of each model, which ``runtime/development`` reads.

    Args:
        directory: The package's directory.
        parts: The methods of its models.
        project: Directory of the project.
        mode: What is installed, ``eager`` or ``compiled``.
    """
    options = " --compile" if mode == COMPILED else ""
    table = {
        "project": str(project),
        "options": f"{options} --project {shlex.quote(str(project))}",
        "models": {part.model: _states(part.exported.parent, project) for part in parts},
    }
    (directory / FILE).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def _states(exported: Path, project: Path) -> dict[str, list[int]]:
    root = project.resolve()
    states = read_exported(exported)
    return {str(Path(name).relative_to(root)): state for name, state in states.items()}
