"""Versions that a backend reads from a file or from git, as scikit-build-core reads them."""

from __future__ import annotations

import re
from pathlib import Path

from aotbuild.commands.init.document import Document
from aotbuild.errors import InitError

_USUAL = r'(?i)^(__version__|VERSION)(?: ?\: ?str)? *= *([\'"])v?(?P<value>.+?)\2'
"""What scikit-build-core's provider looks for where no pattern is given."""

SCM = "setuptools-scm>=8"


def version_of_file(document: Document, root: Path, file: str, pattern: str = "") -> None:
    """Let the version be read from a file.

    Args:
        document: The project's pyproject.toml.
        root: The directory of the project.
        file: The file, relative to it.
        pattern: A regular expression with a group ``value``; that of ``__version__`` if empty.

    Raises:
        InitError: It finds no version there.
    """
    path = root / file
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not re.search(pattern or _USUAL, text, re.MULTILINE):
        raise InitError(
            "the version of the project is not found",
            where=file,
            why="it is read from this file, and is not written there as a string"
            if path.is_file()
            else "it is read from this file, which is not there",
            fix='write it as __version__ = "1.0" there, or as version = "1.0" in [project]',
        )
    regex = [f"regex = '''{pattern}'''"] if pattern else []
    _provide(document, "regex", [f'input = "{file}"', *regex])


def version_of_name(document: Document, root: Path, file: str, name: str) -> None:
    """Let the version be read from a file in which a name is set to it.

    Args:
        document: The project's pyproject.toml.
        root: The directory of the project.
        file: The file, relative to it.
        name: The name.
    """
    usual = name.lower() in {"__version__", "version"}
    any_name = rf"""^{re.escape(name)}\s*(?::\s*\w+\s*)?=\s*(['"])v?(?P<value>.+?)\1"""
    version_of_file(document, root, file, "" if usual else any_name)


def version_of_git(document: Document) -> None:
    """Let setuptools-scm read the version from git."""
    if document.get("tool", "setuptools_scm") is None:
        document.add_tables("[tool.setuptools_scm]\n")
    _provide(document, "setuptools_scm", [])


def file_of(root: Path, module: str, bases: tuple[str, ...] = ("src", "")) -> str:
    """The file of a module, relative to the project; that of a package if there is none.

    Args:
        root: The directory of the project.
        module: Its dotted name.
        bases: Where it may be.
    """
    inside = module.replace(".", "/")
    candidates = [
        Path(base, path).as_posix()
        for base in bases
        for path in (f"{inside}.py", f"{inside}/__init__.py")
    ]
    there = (path for path in candidates if (root / path).is_file())
    return next(there, candidates[-1])


def _provide(document: Document, provider: str, lines: list[str]) -> None:
    head = ["[[tool.dynamic-metadata]]", f'provider = "scikit_build_core.metadata.{provider}"']
    document.add_tables("\n".join([*head, 'field = "version"', *lines]) + "\n")
    document.add_dynamic("version")
