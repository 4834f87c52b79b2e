"""Building for another architecture: what a build has to have for it, and the tag of its wheel."""

from __future__ import annotations

import os
import sys
from typing import Any

from aotbuild.config.messages import located
from aotbuild.config.project import Project
from aotbuild.errors import ConfigError
from aotbuild.hook.check_wheel import has_own_cmake
from aotbuild.target import TARGET_VARIABLE
from aotbuild.toolchain import usual_cxx

_HOST_PLATFORM = "_PYTHON_HOST_PLATFORM"
"""The variable that tells Python and scikit-build-core which platform is built for."""
_TOOLCHAIN = "CMAKE_TOOLCHAIN_FILE"


def check_cross(project: Project, settings: Any, state: str, architecture: str) -> None:
    """Check that all of a wheel will be for another architecture than this machine's.

    Args:
        project: The project.
        settings: The settings of scikit-build-core.
        state: The hook that runs.
        architecture: What is built for.

    Raises:
        ConfigError: A part of it would be for this machine.
    """
    if state in {"editable", "metadata_editable"}:
        raise ConfigError(
            "an editable install cannot be for another architecture",
            where=f"environment: {TARGET_VARIABLE}",
            why=f"what is compiled for {architecture} cannot be imported on this machine",
            fix=f"unset {TARGET_VARIABLE}, or build a wheel",
        )
    given = {os.environ.get(_TOOLCHAIN), settings.cmake.define.get(_TOOLCHAIN)} - {None, ""}
    if has_own_cmake(project, settings) and not given:
        raise ConfigError(
            f"the project's own CMakeLists.txt would compile for this machine, not {architecture}",
            where=f"environment: {TARGET_VARIABLE}\n{located('tool.scikit-build.cmake')}",
            why=f"CMake knows no compiler for {architecture}",
            fix=f"set {_TOOLCHAIN} to a file that names one: the models are compiled for "
            f"{architecture} in any case",
        )


def environment(architecture: str) -> dict[str, str]:
    """What scikit-build-core adds to the environment of the build, where it is not set.

    It tags the wheel by the platform, and would name Python's own compiler.
    """
    return {_HOST_PLATFORM: f"{sys.platform}-{architecture}", "CXX": usual_cxx(architecture)}
