"""Checkpoints that go into the wheel as files of the project's own package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import pathspec

from aotbuild.config.project import Project
from aotbuild.config.resolve import is_program, weights_file
from aotbuild.config.wheel_packages import wheel_packages


def packaged_checkpoints(project: Project) -> dict[str, str]:
    """The files that compiled weights are made of and that the wheel holds too.

    Returns:
        Their paths in the project by those in the wheel.
    """
    wheel = project.skbuild.get("wheel")
    settings: dict[str, Any] = wheel if isinstance(wheel, dict) else {}
    excluded = settings.get("exclude")
    spec = pathspec.GitIgnoreSpec.from_lines(excluded if isinstance(excluded, list) else [])
    packages = wheel_packages(project.root, project.name, settings.get("packages"))
    names = {name for model in project.models.values() for name in _checkpoint(model)}
    found = {}
    for name in sorted(names):
        for target, source in packages.items():
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
