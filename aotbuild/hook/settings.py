"""What aotbuild tells scikit-build-core: entry point ``scikit-build-core.config.default``."""

from __future__ import annotations

import os
import re
from importlib.resources import files as resource_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aotbuild.errors import ConfigError, reported

if TYPE_CHECKING:
    from aotbuild.config.project import Project

MINIMUM_CMAKE = "3.20"


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
        if not pyproject.is_file() or b"aotbuild" not in pyproject.read_bytes():
            return {}
        from aotbuild.cache.settings import cache_settings
        from aotbuild.config.project import load_project, read_pyproject
        from aotbuild.hook.requirement import (
            check_build_torch,
            check_torch_requirement,
            check_weights_requirement,
            warn_of_other_torch,
        )
        from aotbuild.toolchain import find_cxx

        project = load_project(Path.cwd())
        if project is None:
            _check_undeclared(read_pyproject(Path.cwd()), Path.cwd())
            return {}
        _check_cmake(project)
        check_torch_requirement(project.pyproject, project.config.torch)
        check_weights_requirement(project.pyproject, project.config)
        if state != "sdist":
            check_build_torch(project.pyproject)
        if state == "editable":
            _check_editable(project)
        if state in {"wheel", "editable"}:
            warn_of_other_torch(project.config.torch)
            find_cxx()  # better missed now than after the export
            cache_settings()
        return _settings(project)


def _settings(project: Project) -> dict[str, Any]:
    table: dict[str, Any] = {
        "cmake": {"define": {"AOTBUILD_PROJECT_DIR": str(project.root)}},
        # The steps are written for Ninja: dependency files, and outputs that did not change.
        "ninja": {"make-fallback": False},
        "wheel": {"reproducible": True},
        # A table, so that a project's own sdist.include (a list) cannot push the files out.
        "sdist": {"force-include": {name: name for name in project.files}},
    }
    if not has_own_cmake(project):
        table["cmake"]["source-dir"] = str(resource_files("aotbuild.cmake"))
        table["cmake"]["version"] = f">={MINIMUM_CMAKE}"
        # The one extension module, the engine, is for the stable ABI: one wheel for every Python.
        table["wheel"]["py-api"] = "cp311"
    return table


def has_own_cmake(project: Project) -> bool:
    """Whether the project brings a CMakeLists.txt of its own."""
    own_source_dir = project.skbuild.get("cmake", {}).get("source-dir")
    return own_source_dir is not None or (project.root / "CMakeLists.txt").is_file()


def _check_undeclared(pyproject: dict[str, Any], root: Path) -> None:
    """Refuse a project that builds with aotbuild but has lost or mistyped its declaration."""
    from packaging.utils import canonicalize_name

    from aotbuild.config.parse import did_you_mean, located

    requires = pyproject.get("build-system", {}).get("requires", [])
    names = {canonicalize_name(re.split(r"[^\w.-]", text.strip())[0]) for text in requires}
    if "aotbuild" in names and not (root / "CMakeLists.txt").is_file():
        tables = [name for name in pyproject.get("tool", {}) if did_you_mean(name, ["aotbuild"])]
        mistyped = f"is [tool.{tables[0]}] meant to be it? if not, " if tables else ""
        raise ConfigError(
            "no models are declared",
            where=located("tool.aotbuild.models"),
            why="build-system.requires lists aotbuild, but there is no [tool.aotbuild]",
            fix=f"{mistyped}add a table for each model:\n"
            '[tool.aotbuild.models.net]\nsource = "module:Class"',
        )


def _check_editable(project: Project) -> None:
    """Refuse a mode that builds beside the CMakeLists.txt and installs nothing.

    Without a CMakeLists.txt of the project's own that place is inside the installed aotbuild.
    """
    declared = project.skbuild.get("editable", {}).get("mode")
    mode = os.environ.get("SKBUILD_EDITABLE_MODE", declared)
    if mode == "inplace":
        raise ConfigError(
            "compiled models cannot be installed in editable mode in place",
            where="pyproject.toml: tool.scikit-build.editable.mode",
            why="this mode installs nothing, so the generated package would be missing",
            fix='remove the entry, or write editable.mode = "redirect"',
        )


def _check_cmake(project: Project) -> None:
    if project.skbuild.get("wheel", {}).get("cmake") is False:
        raise ConfigError(
            "the project declares models but switches CMake off",
            where="pyproject.toml: tool.scikit-build.wheel.cmake",
            why="the models are compiled by the CMake build",
            fix="remove cmake = false",
        )
    if has_own_cmake(project):
        directory = project.root / project.skbuild.get("cmake", {}).get("source-dir", ".")
        lists = directory / "CMakeLists.txt"
        text = lists.read_text(errors="replace") if lists.is_file() else ""
        # What it includes may add the models; reading that is CMake's business.
        if not re.search(r"aotbuild_add_model|add_subdirectory|include\s*\(", text, re.IGNORECASE):
            raise ConfigError(
                "the project declares models but its CMakeLists.txt does not add them",
                where=str(lists.relative_to(project.root)),
                why="the wheel would have no compiled models",
                fix="add these lines:\nfind_package(AotBuild REQUIRED)\naotbuild_add_models()",
            )
