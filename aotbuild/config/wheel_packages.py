"""Which import packages a wheel has, by scikit-build-core's rules for ``wheel.packages``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aotbuild.config.messages import folded, located
from aotbuild.config.values import PACKAGE
from aotbuild.errors import ConfigError

SOURCE_ROOTS = ("src", "python", "")
"""Directories in which scikit-build-core looks for the package of a project."""


def wheel_packages(root: Path, name: str, packages: Any) -> dict[str, str]:
    """The directories that go into the wheel.

    Args:
        root: Directory of the project.
        name: ``project.name``, as it is written.
        packages: ``wheel.packages``; None where it is not given.

    Returns:
        Directories relative to ``root``, by where they are in the wheel.
    """
    if isinstance(packages, Mapping):
        return {str(target): str(source) for target, source in packages.items()}
    if isinstance(packages, list):
        return {Path(str(source)).name: str(source) for source in packages}
    for base in SOURCE_ROOTS:
        for target in automatic_names(name):
            directory = root / base / target
            if (directory / "__init__.py").is_file() or (directory / "__init__.pyi").is_file():
                return {target: str(Path(base) / target)}
    return {}


def automatic_names(name: str) -> list[str]:
    """What the directory of a project's package has to be called to be found by itself."""
    parts = [part.replace("-", "_") for part in name.split(".")]
    return list(dict.fromkeys(["_".join(parts), "/".join(parts)]))


def import_names(root: Path, packages: Mapping[str, str]) -> list[str]:
    """The packages that can be imported from a wheel; namespaces are no packages themselves.

    Args:
        root: Directory of the project.
        packages: What ``wheel_packages`` returns.
    """
    names: list[str] = []
    for target, source in packages.items():
        parts = Path(target.strip("/")).parts
        if (root / source).is_file():
            continue  # a module
        if parts:
            names += _packages_below(root / source, ".".join(parts))
        elif (root / source).is_dir():  # "" = "src": all that is in it
            children = sorted(path for path in (root / source).iterdir() if path.is_dir())
            names += [name for child in children for name in _regular_packages(child, child.name)]
    return names


def module_names(root: Path, packages: Mapping[str, str]) -> list[str]:
    """The modules that are files of their own in a wheel, such as ``digits`` of ``digits.py``.

    Args:
        root: Directory of the project.
        packages: What ``wheel_packages`` returns.
    """
    names: list[str] = []
    for target, source in packages.items():
        path = Path(target.strip("/"))
        if path.suffix == ".py" and (root / source).is_file():
            names.append(".".join(path.with_suffix("").parts))
        elif not path.parts and (root / source).is_dir():
            names += [file.stem for file in sorted((root / source).glob("*.py"))]
    return names


def default_package(
    root: Path, pyproject: Mapping[str, Any], packages: Any, sources: Sequence[str]
) -> str:
    """The import package of the compiled models: ``models`` in the package of the wheel.

    Args:
        root: Directory of the project.
        pyproject: The whole file.
        packages: ``wheel.packages``; None where it is not given.
        sources: The modules that the models come from.

    Raises:
        ConfigError: It does not follow from the project.
    """
    project = pyproject.get("project", {})
    name = str(project.get("name", "")) if isinstance(project, Mapping) else ""
    given = import_names(root, wheel_packages(root, name, packages))
    names = [name for name in given if PACKAGE.holds(name)]  # hook/check_package reports others
    if len(names) > 1:
        return f"{_choose(names, name, sources)}.models"
    if not names and not name:
        raise ConfigError(
            "the project has no name",
            where=located("project.name"),
            why="the package of the compiled models follows from it",
            fix='add to [project]: name = "digits"',
        )
    package = f"{names[0] if names else re.sub(r'[-.]+', '_', name)}.models"
    if not PACKAGE.holds(package):
        tops = {source.partition(".")[0] for source in sources} & set(project_packages(root))
        likely = tops.pop() if len(tops) == 1 else "digits"
        raise ConfigError(
            "the package of the compiled models has no name",
            where=located("tool.aotbuild.package"),
            why=f'the default follows project.name, and "{package}" cannot be imported',
            fix=f'add to [tool.aotbuild]: package = "{likely}.models"',
        )
    return package


def same_name(one: str, other: str) -> bool:
    """Whether two names differ only in case and in what stands between their words."""
    return folded(one) == folded(other)


def project_packages(root: Path) -> dict[str, str]:
    """The packages that are in the project, in the wheel or not: their directories by name."""
    found: dict[str, str] = {}
    for base in SOURCE_ROOTS:
        directory = root / base
        if not directory.is_dir():
            continue
        for child in sorted(directory.iterdir()):
            if base or child.name not in _NO_PACKAGES:
                for name in _regular_packages(child, child.name):
                    found.setdefault(name, str(Path(base, *name.split("."))))
    return found


_NO_PACKAGES = {*SOURCE_ROOTS, "build", "dist", "tests", "docs"}


def _packages_below(directory: Path, dotted: str) -> list[str]:
    """The packages in a directory that goes into the wheel; itself when it is no namespace."""
    return _regular_packages(directory, dotted) or [dotted]


def _regular_packages(directory: Path, dotted: str) -> list[str]:
    """The outermost packages with an ``__init__`` in a directory, or the directory itself."""
    if not directory.is_dir() or not directory.name.isidentifier():
        return []
    if (directory / "__init__.py").is_file() or (directory / "__init__.pyi").is_file():
        return [dotted]
    if dotted.count(".") == _DEEPEST:
        return []
    with os.scandir(directory) as entries:  # a directory of data may be large
        children = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("_"))
    return [
        name
        for child in children
        for name in _regular_packages(directory / child, f"{dotted}.{child}")
    ]


_DEEPEST = 3
"""How many namespaces are descended."""


def _choose(names: Sequence[str], project: str, sources: Sequence[str]) -> str:
    """The package of several that the models belong to."""
    for fitting in (
        [name for name in names if same_name(name, project)],
        [name for name in names if sources and all(_inside(source, name) for source in sources)],
    ):
        if len(fitting) == 1:
            return fitting[0]
    lines = "\n".join(f'package = "{name}.models"' for name in names)
    raise ConfigError(
        "the package of the compiled models has no name",
        where=located("tool.aotbuild.package"),
        why=f"the wheel has several packages: {', '.join(names)}",
        fix=f"add one of these lines to [tool.aotbuild]:\n{lines}",
    )


def _inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def source_modules(sources: Iterable[str]) -> list[str]:
    """The modules of sources written as ``module:attribute``."""
    return [source.partition(":")[0] for source in sources if ":" in source]
