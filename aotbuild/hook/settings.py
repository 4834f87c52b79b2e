"""What aotbuild tells scikit-build-core: entry point ``scikit-build-core.config.default``."""

from __future__ import annotations

import re
from importlib.resources import files as resource_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aotbuild.errors import ConfigError, reported

if TYPE_CHECKING:
    from aotbuild.config.project import Project

MINIMUM_CMAKE = "3.21"


def settings(state: str) -> dict[str, Any]:
    """Settings for the project in the current directory.

    Args:
        state: The hook that runs: ``sdist``, ``wheel``, ``editable``, ``metadata_wheel`` or
            ``metadata_editable``.

    Returns:
        A table of the shape of ``[tool.scikit-build]``; empty when the project declares no models.
    """
    # SystemExit, which reported() raises, is what a hook can raise without a traceback.
    with reported():
        # scikit-build-core asks every provider about every project it builds: answer quickly
        # for those that are not ours, before importing the rest.
        pyproject = Path("pyproject.toml")
        if not pyproject.is_file() or not _MEANT.search(pyproject.read_bytes()):
            return {}
        from aotbuild.cache.settings import cache_settings
        from aotbuild.config.develop import EAGER, develop_mode
        from aotbuild.config.project import load_project, read_pyproject
        from aotbuild.config.runtimes import needs_torch
        from aotbuild.hook.build_settings import build_settings
        from aotbuild.hook.build_system import check_requires
        from aotbuild.hook.check_project import check_metadata, check_table, warn_of_python
        from aotbuild.hook.check_wheel import check_wheel, has_own_cmake
        from aotbuild.hook.cross import check_cross
        from aotbuild.hook.progress import show_progress
        from aotbuild.hook.requirement import (
            check_build_torch,
            check_torch_requirement,
            check_weights_requirement,
            warn_of_other_torch,
        )
        from aotbuild.hook.runtimes import chosen_for, eager_for, required_torch
        from aotbuild.target import cross_architecture
        from aotbuild.toolchain import find_cxx

        root = Path.cwd()
        declared = read_pyproject(root)
        check_table(declared)
        project = load_project(root)
        if project is None:
            _check_undeclared(declared, root)
            return {}
        check_metadata(declared)
        check_requires(declared)
        skbuild = build_settings(declared, state)
        check_wheel(project, skbuild, state)
        eager = develop_mode(skbuild.cmake.define, state) == EAGER
        check_weights_requirement(project.pyproject, project.config)
        if state != "sdist":
            check_build_torch(project.pyproject)
        cross = cross_architecture() if state != "sdist" else ""
        if cross:
            check_cross(project, skbuild, state, cross)
        if state in {"wheel", "editable"}:
            warn_of_python(declared)
            if not eager:
                find_cxx(cross)  # better missed now than after the export
            cache_settings()
        if state != "sdist":
            show_progress(project)
        project = eager_for(project) if eager else chosen_for(project, state)
        needed = needs_torch(project)
        wanted = required_torch(project)
        # The environment that develops a project has its torch.
        check_torch_requirement(project.pyproject, wanted, needed=needed and not eager)
        if needed and state in {"wheel", "editable"}:
            warn_of_other_torch(wanted)
        return _settings(project, cross, own=has_own_cmake(project, skbuild))


_MEANT = re.compile(rb"(?i)aot[-_]?b")
"""What a file has in it that declares models, also under a name that is misspelt."""


def _settings(project: Project, cross: str, *, own: bool) -> dict[str, Any]:
    from aotbuild.hook.cross import environment
    from aotbuild.hook.runtimes import defined

    cmake = Path(str(resource_files("aotbuild.cmake")))
    table: dict[str, Any] = {
        "cmake": {"define": {"AOTBUILD_PROJECT_DIR": str(project.root), **defined(project)}},
        # The steps are written for Ninja: dependency files, and outputs that did not change.
        "ninja": {"make-fallback": False},
        "wheel": {"reproducible": True},
        # A table, so that a project's own sdist.include (a list) cannot push the files out.
        "sdist": {"force-include": {name: name for name in project.files}},
    }
    if cross:
        table["env"] = environment(cross)
    if own:
        # Read after each project(), so that a build to which no model is added is noticed.
        added = str(cmake / "AotBuildAdded.cmake")
        table["cmake"]["define"]["CMAKE_PROJECT_INCLUDE"] = added
    else:
        table["cmake"]["source-dir"] = str(cmake)
        table["cmake"]["version"] = f">={MINIMUM_CMAKE}"
        # The one extension module, the engine, is for the stable ABI: one wheel for every Python.
        # Without the GIL there is none, and scikit-build-core gives the wheel the Python's own tag.
        table["wheel"]["py-api"] = "cp311"
    return table


def _check_undeclared(pyproject: dict[str, Any], root: Path) -> None:
    """Refuse a project that builds with aotbuild but has lost its declaration."""
    from packaging.utils import canonicalize_name

    from aotbuild.config.messages import located

    requires = pyproject.get("build-system", {}).get("requires", [])
    names = {canonicalize_name(re.split(r"[^\w.-]", text.strip())[0]) for text in requires}
    if "aotbuild" in names and not (root / "CMakeLists.txt").is_file():
        raise ConfigError(
            "no models are declared",
            where=located("tool.aotbuild.models"),
            why="build-system.requires lists aotbuild, but there is no [tool.aotbuild]",
            fix='add a table for each model:\n[tool.aotbuild.models.net]\nsource = "module:Class"',
        )
