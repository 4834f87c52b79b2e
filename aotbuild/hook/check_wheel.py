"""Checks that the wheel will have the models: what scikit-build-core is told to build and place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from aotbuild.config.messages import located
from aotbuild.config.project import Project
from aotbuild.errors import ConfigError
from aotbuild.hook.build_settings import NO_PROVIDERS, providers_off
from aotbuild.hook.check_package import check_package
from aotbuild.interpreter import ENGINE

TARGET = "aotbuild_models"
"""The CMake target that builds the models."""

_SKBUILD = "tool.scikit-build"


def check_wheel(project: Project, settings: Any, state: str) -> None:
    """Check that a build puts the models where they are imported from.

    Args:
        project: The project.
        settings: The settings of scikit-build-core.
        state: The hook that runs; ``wheel`` for what a build would do.

    Raises:
        ConfigError: The wheel would not have them.
    """
    _check_cmake(project, settings)
    if providers_off() and not has_own_cmake(project, settings):
        raise providers_error()
    if state == "sdist":
        return
    _check_targets("build.targets", settings.build.targets, {TARGET, "all"}, TARGET)
    if not settings.install.components:
        # With components, they are installed beside these targets.
        _check_targets("install.targets", settings.install.targets, {"install"}, "install")
    if settings.wheel.platlib is False:
        raise ConfigError(
            "the wheel would be tagged as one of pure Python",
            where=located(f"{_SKBUILD}.wheel.platlib"),
            why="compiled models are for one platform; pip would install them on any",
            fix="remove wheel.platlib = false",
        )
    if state in {"editable", "metadata_editable"}:
        _check_editable(settings.editable.mode)
    own = has_own_cmake(project, settings)
    check_package(project, settings.wheel.packages, generated=own)
    _check_exclude(project, settings.wheel.exclude)


def providers_error() -> ConfigError:
    """The error of a build in which nothing of aotbuild runs."""
    return ConfigError(
        "the wheel would have no compiled models",
        where=f"environment: {NO_PROVIDERS}",
        why="with it scikit-build-core asks no installed package for settings, and aotbuild is one",
        fix="unset it, or add a CMakeLists.txt to the project:\n"
        "cmake_minimum_required(VERSION 3.21...4.0)\n"
        "project(${SKBUILD_PROJECT_NAME} LANGUAGES NONE)\n"
        "find_package(AotBuild REQUIRED)\naotbuild_add_models()",
    )


def has_own_cmake(project: Project, settings: Any) -> bool:
    """Whether the project brings a CMakeLists.txt of its own.

    Args:
        project: The project.
        settings: The settings of the build.
    """
    directory = str(settings.cmake.source_dir)
    return directory != "." or (project.root / "CMakeLists.txt").is_file()


def _check_cmake(project: Project, settings: Any) -> None:
    if not settings.wheel.cmake:
        raise ConfigError(
            "the project declares models but switches CMake off",
            where=located(f"{_SKBUILD}.wheel.cmake"),
            why="the models are compiled by the CMake build",
            fix="remove cmake = false, -C wheel.cmake=false or SKBUILD_WHEEL_CMAKE",
        )
    if not has_own_cmake(project, settings):
        return
    lists = project.root / settings.cmake.source_dir / "CMakeLists.txt"
    if not lists.is_file():
        raise ConfigError(
            f'"{settings.cmake.source_dir}" has no CMakeLists.txt',
            where=located(f"{_SKBUILD}.cmake.source-dir"),
            fix="correct the directory, or remove cmake.source-dir: aotbuild brings a project of "
            "its own where there is none",
        )
    text = lists.read_text(errors="replace")
    # What it includes may add the models; cmake/AotBuildAdded.cmake sees whether it does.
    if not re.search(r"aotbuild_add_model|add_subdirectory|include\s*\(", text, re.IGNORECASE):
        raise ConfigError(
            "the project declares models but its CMakeLists.txt does not add them",
            where=str(lists.relative_to(project.root)),
            why="the wheel would have no compiled models",
            fix="add these lines:\nfind_package(AotBuild REQUIRED)\naotbuild_add_models()",
        )


def _check_targets(key: str, targets: Sequence[str], enough: set[str], wanted: str) -> None:
    """Check that the targets that are listed include what builds, or installs, the models."""
    if targets and not enough & set(targets):
        listed = ", ".join(f'"{target}"' for target in [*targets, wanted])
        what = "compiled" if key == "build.targets" else "installed into the wheel"
        raise ConfigError(
            f"the models would not be {what}",
            where=located(f"{_SKBUILD}.{key}"),
            why=f"only these targets are built: {', '.join(targets)}",
            fix=f"write {key} = [{listed}]",
        )


def _check_editable(mode: str) -> None:
    if mode == "inplace":
        raise ConfigError(
            "compiled models cannot be installed in editable mode in place",
            where=located(f"{_SKBUILD}.editable.mode"),
            why="this mode installs nothing, so the generated package would be missing",
            fix='remove the entry, or write editable.mode = "redirect"',
        )


def _check_exclude(project: Project, patterns: Sequence[str]) -> None:
    """Find patterns that take files of the models out of the wheel."""
    if not patterns:
        return
    from pathspec import GitIgnoreSpec  # scikit-build-core has it, and matches by it

    spec = GitIgnoreSpec.from_lines(patterns)
    for file in _package_files(project):
        if not spec.match_file(file):
            continue
        pattern = next(
            (p for p in reversed(patterns) if GitIgnoreSpec.from_lines([p]).match_file(file)), ""
        )
        directory = project.package.replace(".", "/")
        listed = ", ".join(f'"{entry}"' for entry in [*patterns, f"!/{directory}/**"])
        raise ConfigError(
            f'the pattern "{pattern}" takes files of the models out of the wheel',
            where=located(f"{_SKBUILD}.wheel.exclude"),
            why=f"it matches {file}",
            fix=f"write a narrower pattern, or: wheel.exclude = [{listed}]",
        )


def _package_files(project: Project) -> list[str]:
    """A file of each kind that the models need, as they are named in the wheel."""
    directory = Path(*project.package.split("."))
    names = ["__init__.py", "__init__.pyi", "py.typed", "_runtime/__init__.py"]
    if project.config.weights_in == "wheel":
        names.append("weights.safetensors")
    names += [f"_runtime/{ENGINE}", "__main__.py", "_pyinstaller/__init__.py"]
    runtime = files("aotbuild.runtime").iterdir()
    names += sorted(f"_runtime/{file.name}" for file in runtime if file.name.endswith(".py"))
    for model, declared in project.models.items():
        names += [f"_{model}.py", f"{model}/model.json", f"{model}/selftest.safetensors"]
        names += [f"{model}/{device}-{model}.so" for device in declared.devices or []]
    return [(directory / name).as_posix() for name in names]
