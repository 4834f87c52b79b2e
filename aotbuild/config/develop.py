"""What ``aotbuild develop`` installs: the models as eager torch runs them, or compiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final

from aotbuild.config.messages import did_you_mean, located
from aotbuild.config.project import Project
from aotbuild.config.schema import TORCH
from aotbuild.errors import ConfigError

DEVELOP: Final = "AOTBUILD_DEVELOP"
"""The variable of CMake that tells it; an install for development has it, and no other."""

EAGER: Final = "eager"
COMPILED: Final = "compiled"


def develop_mode(defined: Mapping[str, str], state: str) -> str:
    """What of the two a build is for; empty for a usual one.

    Args:
        defined: The variables of CMake that are set for the build.
        state: The hook of scikit-build-core that runs, such as ``editable``.

    Raises:
        ConfigError: The variable has another value, or is set for a wheel.
    """
    mode = str(defined.get(DEVELOP, ""))
    if not mode:
        return ""
    where = located(f"tool.scikit-build.cmake.define.{DEVELOP}")
    if mode not in {EAGER, COMPILED}:
        raise ConfigError(
            f'{DEVELOP} is "{mode}"',
            where=where,
            fix=did_you_mean(mode, [EAGER, COMPILED]) or f"{EAGER} or {COMPILED} can be there",
        )
    if state not in {"editable", "metadata_editable", "sdist"}:
        raise ConfigError(
            f"a wheel cannot be built with {DEVELOP}",
            where=where,
            why="what it installs names files of this machine",
            fix="remove it: aotbuild develop sets it by itself",
        )
    return mode


def with_eager(project: Project) -> Project:
    """The project with models that eager torch runs, and nothing is compiled for."""
    models = {
        name: dataclasses.replace(model, runtime=TORCH, fallback="eager", tune=None)
        for name, model in project.models.items()
    }
    return dataclasses.replace(project, models=models)
