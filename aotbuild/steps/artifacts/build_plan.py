"""The plan as CMake reads it: a command for each step, which Ninja runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aotbuild.steps.files import write_if_changed

PLAN = "plan.json"


def write_plan(
    build: Path,
    commands: Sequence[dict[str, Any]],
    jobs: int,
    package_directory: str,
    metadata_directory: str,
    package: str,
) -> None:
    """Write the plan, unless it is there already.

    Args:
        build: Directory of the build.
        commands: Tables with ``step``, ``comment``, ``spec``, ``output``, ``others`` (what else is
            written that others depend on) and ``depends``, each behind those it depends on.
        jobs: How many may run at once.
        package_directory: Where the package is written, relative to ``build``.
        metadata_directory: Where files for the wheel's ``.dist-info`` are written.
        package: The name of the package, with dots.
    """
    table = {
        "commands": commands,
        "jobs": jobs,
        "package-dir": package_directory,
        "metadata-dir": metadata_directory,
        "destination": package.replace(".", "/"),
    }
    write_if_changed(build / PLAN, json.dumps(table, indent=1) + "\n")
