"""Checkpoints that go into the wheel as files of the project's own package."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pathspec

from aotbuild.config.project import Project
from aotbuild.config.resolve import is_program, weights_file


def packaged_checkpoints(project: Project) -> dict[str, str]:
    """The files that compiled weights are made of and that the wheel holds too.

    Returns:
        Their paths in the project by those in the wheel.
    """
    wheel = project.skbuild.get("wheel")
    settings: dict[str, Any] = wheel if isinstance(wheel, dict) else {}
    excluded = settings.get("exclude")
    spec = pathspec.GitIgnoreSpec.from_lines(excluded if isinstance(excluded, list) else [])
    names = {name for model in project.models.values() for name in _checkpoint(model)}
    found = {}
    for name in sorted(names):
        for target, source in _packages(project, settings):
            path = PurePosixPath(name)
            if path.is_relative_to(source):
                inside = str(PurePosixPath(target) / path.relative_to(source))
                if not spec.match_file(inside):
                    found[inside] = name
                break
    return found


def _checkpoint(model: Any) -> Iterator[str]:
    weights = weights_file(model)
    if weights:
        yield weights
    if is_program(model.source):
        yield model.source


def _packages(project: Project, wheel: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The packages of the wheel by scikit-build-core's rules: their places in it, and their own."""
    packages = wheel.get("packages")
    if isinstance(packages, dict):
        yield from ((str(target), str(source)) for target, source in packages.items())
    elif isinstance(packages, list):
        yield from ((PurePosixPath(str(source)).name, str(source)) for source in packages)
    else:
        table = project.pyproject.get("project")
        name = str(table.get("name", "")) if isinstance(table, dict) else ""
        package = re.sub(r"[-.]+", "_", name)
        for base in ("src", "python", ""):
            own = str(PurePosixPath(base) / package)
            if (Path(project.root) / own / "__init__.py").is_file():
                yield package, own
                return
