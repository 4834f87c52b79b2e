"""The torch that a wheel requires: entry point ``dynamic_metadata.provider``.

The provider adds such as ``torch>=2.13`` (from the torch of the build, and the code of the models)
to the dependencies of the wheel; the checks here stop builds whose wheel would run with no torch,
or with a wrong one.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from aotbuild.config.companion import companion
from aotbuild.config.messages import located
from aotbuild.config.runtimes import needs_torch
from aotbuild.config.schema import Config
from aotbuild.errors import RequirementError, reported, warn
from aotbuild.torch_version import installed_range, installed_torch

if TYPE_CHECKING:
    from aotbuild.config.project import Project

_PROVIDER = "aotbuild"
_LINES_TO_PASTE = """\
[project]
dynamic = ["dependencies"]

[[tool.dynamic-metadata]]
provider = "aotbuild\""""


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, Any]:
    """The ``[project]`` fields that aotbuild provides.

    Args:
        settings: Keys beside ``provider`` in ``[[tool.dynamic-metadata]]``; there are none.
        project: The ``[project]`` table; not needed.

    Returns:
        The dependencies; where entry points are dynamic, too, the one by which PyInstaller finds
        the hook of the package.
    """
    del project
    from aotbuild.config.project import load_project
    from aotbuild.hook.build_settings import providers_off
    from aotbuild.hook.check_wheel import providers_error
    from aotbuild.hook.runtimes import known_for

    with reported():
        if settings:
            raise RequirementError(
                f"unknown key {', '.join(settings)}",
                where=located("tool.dynamic-metadata"),
                fix='the entry takes provider = "aotbuild" and nothing else',
            )
        declared = load_project(Path.cwd())
        # With them off, the other hook, which would tell it, does not run.
        if declared and providers_off() and not (declared.root / "CMakeLists.txt").is_file():
            raise providers_error()
        needed = declared is None or needs_torch(known_for(declared))
        wanted = _wanted(declared) if needed else ""
        # Only an sdist can be made without torch; there the field is marked dynamic.
        required = [f"torch{wanted}"] if wanted else []
        weights = companion(declared.config, declared.pyproject) if declared else ""
        fields: dict[str, Any] = {"dependencies": [*required, weights] if weights else required}
        # Not by `project`, where what an earlier provider gave is no longer dynamic.
        dynamic = declared.pyproject.get("project", {}).get("dynamic", []) if declared else []
        if declared and "entry-points" in dynamic:
            hooks = f"{declared.package}._pyinstaller:hook_dirs"
            fields["entry-points"] = {"pyinstaller40": {"hook-dirs": hooks}}
        return fields


def _wanted(declared: Project | None) -> str:
    """The versions of torch that the wheel requires; empty where none is installed."""
    from aotbuild.hook.runtimes import required_torch

    if declared:
        return required_torch(declared)
    return installed_range()


def dynamic_wheel(settings: Mapping[str, Any]) -> dict[str, bool]:
    """Fields whose value in a wheel can differ from the sdist's: it follows the torch installed."""
    del settings
    return {"dependencies": True}


def check_torch_requirement(
    pyproject: Mapping[str, Any], wanted: str, *, needed: bool = True
) -> None:
    """Make sure that the wheel will require torch, if it needs it.

    Args:
        pyproject: The whole file.
        wanted: The versions of torch that the wheel runs with; empty where none is installed.
        needed: Whether a model needs torch at run time.

    Raises:
        RequirementError: No requirement is given, or one that excludes the torch of the build.
    """
    project = pyproject.get("project", {})
    dynamic = "dependencies" in project.get("dynamic", [])
    provided = _provided(pyproject)
    static = _torch_requirements(project.get("dependencies", []))
    if provided and not dynamic:
        raise RequirementError(
            'the provider "aotbuild" is listed, but the dependencies are not dynamic',
            where=located("project.dynamic"),
            fix='add dynamic = ["dependencies"] to [project]; static dependencies may stay',
        )
    if not needed:
        return
    if not provided and not static:
        _check_entry(pyproject)
        why = (
            "the dependencies are dynamic, but nothing provides them: the wheel would have none"
            if dynamic
            else "the wheel would install without torch, or with one that it was not built for"
        )
        raise RequirementError(
            "the wheel would not require torch",
            where=located("project.dependencies"),
            why=why,
            fix=f"add these lines (other dependencies may stay):\n{_LINES_TO_PASTE}",
        )
    built = installed_torch()
    for requirement in static:
        if built and not requirement.specifier.contains(built, prereleases=True):
            raise RequirementError(
                f'the wheel would require "{requirement}", but is built with torch {built}',
                where=located("project.dependencies"),
                why=f"what this torch compiles runs with torch{wanted}",
                fix=f'write "torch{wanted}", or let aotbuild add it:\n{_LINES_TO_PASTE}',
            )


def _check_entry(pyproject: Mapping[str, Any]) -> None:
    """Find the entry of the provider where it is written in another way."""
    tool = pyproject.get("tool", {})
    for name in ("dynamic-metadata", "dynamic_metadata"):
        given = tool.get(name)
        entries = given if isinstance(given, list) else [given]
        for entry in entries:
            if isinstance(entry, dict) and _PROVIDER in map(str, entry.values()):
                raise RequirementError(
                    f'the entry with the provider "{_PROVIDER}" is read by nobody',
                    where=located(f"tool.{name}"),
                    why="the wheel would not require torch",
                    fix=f"write these lines in place of it:\n[[tool.dynamic-metadata]]\n"
                    f'provider = "{_PROVIDER}"',
                )


def check_weights_requirement(pyproject: Mapping[str, Any], config: Config) -> None:
    """Make sure that the wheel will require the wheel of its weights, if they are in one.

    Raises:
        RequirementError: The dependencies are static, and do not have it.
    """
    wanted = companion(config, pyproject)
    given = pyproject.get("project", {}).get("dependencies", [])
    if wanted and not _provided(pyproject) and wanted not in given:
        raise RequirementError(
            "the wheel would not require its weights",
            where=located("project.dependencies"),
            why='weights-in = "companion" puts them into a wheel of their own',
            fix=f'add "{wanted}", or let aotbuild add it:\n{_LINES_TO_PASTE}',
        )


def check_build_torch(pyproject: Mapping[str, Any]) -> None:
    """Make sure that the build environment has the torch that the project pins.

    Raises:
        RequirementError: torch is missing, or is not a version that build-system.requires allows.
    """
    where = located("build-system.requires")
    pins = _torch_requirements(pyproject.get("build-system", {}).get("requires", []))
    built = installed_torch()
    pin = next(iter(pins), None)
    if built is None:
        raise RequirementError(
            "torch is not installed in the build environment",
            where=where,
            why="compiling the models needs torch",
            fix=f'install "{pin or "torch"}" beside scikit-build-core, or build with isolation',
        )
    if pin and not pin.specifier.contains(built, prereleases=True):
        raise RequirementError(
            f'the build environment has torch {built}, the project pins "{pin}"',
            where=where,
            why="a build without isolation takes what is installed",
            fix=f'install "{pin}", or change the pin to "torch=={Version(built.public)}"',
        )


def warn_of_other_torch(versions: str) -> None:
    """Tell that the wheel will not fit the torch that is installed outside of an isolated build.

    Args:
        versions: The versions that the wheel requires; empty where none is installed.
    """
    built = installed_torch()
    if built is None:
        return
    wanted = SpecifierSet(versions)
    for outer in sorted(_outer_torch() - {built}):
        if not wanted.contains(outer, prereleases=True):
            warn(
                f"the wheel will require torch{wanted}; torch {outer} is installed",
                where=located("build-system.requires"),
                why=f"the isolated build environment has torch {built}",
                fix=f'pin "torch=={outer.public}" in build-system.requires to build for it',
            )


def _outer_torch() -> set[Version]:
    """The versions of torch outside of the build environment, as far as they can be found."""
    # pip runs isolated builds by the same interpreter; others tell no more than the environment.
    roots = [sysconfig.get_path("purelib")]
    if active := os.environ.get("VIRTUAL_ENV"):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        roots.append(str(Path(active) / "lib" / version / "site-packages"))
    distributions = importlib.metadata.distributions(name="torch", path=roots)
    return {Version(distribution.version) for distribution in distributions}


def _provided(pyproject: Mapping[str, Any]) -> bool:
    """Whether aotbuild provides dependencies."""
    entries = pyproject.get("tool", {}).get("dynamic-metadata", [])
    return any(isinstance(entry, dict) and entry.get("provider") == _PROVIDER for entry in entries)


def _torch_requirements(requirements: list[str]) -> list[Requirement]:
    pins = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue  # pip and scikit-build-core report those
        applies = requirement.marker is None or requirement.marker.evaluate()
        if canonicalize_name(requirement.name) == "torch" and applies:
            pins.append(requirement)
    return pins
