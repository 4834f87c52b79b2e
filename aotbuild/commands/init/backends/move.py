"""What moving from another backend gives, and what all backends share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aotbuild.commands.init.document import Document
from aotbuild.config.wheel_packages import project_packages, wheel_packages
from aotbuild.errors import InitError


@dataclass(frozen=True)
class Move:
    """What a project needs besides the changes that were made to its document."""

    dropped: tuple[str, ...] = ()
    """Packages that builds do not require any more."""
    required: tuple[str, ...] = ()
    """Those that they require besides."""
    packages: Mapping[str, str] | None = None
    """The directories that go into the wheel, by where they are in it; None for what is said."""
    excluded: tuple[str, ...] = ()
    """Patterns of what stays out of the wheel."""
    notes: list[str] = field(default_factory=list)
    """What the user should know."""


def place_packages(document: Document, root: Path, move: Move) -> None:
    """Tell scikit-build-core what goes into the wheel, where it would not find that by itself.

    Args:
        document: The project's pyproject.toml.
        root: The directory of the project.
        move: What moving gave.
    """
    if move.packages is not None:
        found = wheel_packages(root, str(document.get("project", "name") or ""), None)
        if {key: Path(value) for key, value in found.items()} != {
            key: Path(value) for key, value in move.packages.items()
        }:
            named = all(Path(value).name == key for key, value in move.packages.items())
            value: Any = list(move.packages.values()) if named else dict(move.packages)
            document.set(("tool", "scikit-build", "wheel", "packages"), value)
    if move.excluded:
        document.set(("tool", "scikit-build", "wheel", "exclude"), list(move.excluded))


def tops(root: Path, base: str) -> dict[str, str]:
    """The outermost packages and namespaces below a directory, by where they are in a wheel."""
    found = {}
    for name, place in project_packages(root).items():
        path = Path(place)
        if base and not path.is_relative_to(base):
            continue
        if not base and len(path.parts) > len(name.split(".")):
            continue
        found[name.split(".")[0]] = Path(base, name.split(".")[0]).as_posix()
    return found


def of_module(root: Path, name: str, bases: Iterable[str]) -> dict[str, str]:
    """The directory of a package, in the first of some directories that has it.

    Args:
        root: The directory of the project.
        name: The import name of the package.
        bases: Where it may be.

    Raises:
        InitError: It is a single module, or is not there.
    """
    inside = name.replace(".", "/")
    for base in bases:
        if (root / base / inside).is_dir():
            return {inside: Path(base, inside).as_posix()}
    if any((root / base / f"{inside}.py").is_file() for base in bases):
        raise InitError(
            f"the project is a single module, {inside}.py",
            where="project directory",
            why="compiled models are a package inside that of the project",
            fix=f"make a package of it: a directory {inside} with the file as its __init__.py",
        )
    raise InitError(
        f"there is no package {name}",
        where="project directory",
        why=f"it is looked for in {', '.join(base or 'the directory itself' for base in bases)}",
        fix="call init where the project's pyproject.toml is",
    )


def refuse_keys(document: Document, path: tuple[str, ...], keys: Mapping[str, str]) -> None:
    """Refuse a project that tells its backend what scikit-build-core has nothing for.

    Args:
        document: The project's pyproject.toml.
        path: A table of it.
        keys: Keys of that table, with what they do.

    Raises:
        InitError: One of them is there.
    """
    for key, what in keys.items():
        if document.get(*path, key) not in (None, [], {}, False):
            raise InitError(
                f"the project {what}, which init cannot move to scikit-build-core",
                where=f"pyproject.toml: {'.'.join((*path, key))}",
                why="only builds by scikit-build-core compile models",
                fix="move it by hand: CMake can make and install files, see scikit-build-core's "
                "documentation; or do without it, and call init again",
            )


def need_project(document: Document, elsewhere: str) -> None:
    """Refuse a project whose metadata is not in ``[project]``.

    Raises:
        InitError: It is not.
    """
    if document.get("project", "name") is None:
        raise InitError(
            "the project has no [project] table",
            where="pyproject.toml",
            why=f"its metadata is in {elsewhere}, which only its backend reads",
            fix="move the metadata to [project]: name, version, requires-python, dependencies; "
            "then call init again",
        )
