"""Writing the files of a build: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from aotbuild.errors import DiskError

_TAKEN_APART = set(" \t\r\n'\"\\")
"""What splitting a command in the manner of a shell does not leave as it is."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a failed write does not say of which file
        raise


@contextlib.contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Like ``replacing`` for a directory: a new one takes the place of the old."""
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A temporary directory inside the build directory, removed at the end."""
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=parent) as name:
        yield Path(name).resolve()


def plain_directory(preferred: Path) -> Path:
    """``preferred``, or where a blank or a quote is in its path, a place for temporary files.

    Inductor splits its compile commands as a shell does, but quotes few of the paths in them.
    """
    candidates = [preferred, Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108
    for directory in candidates:
        name = os.fspath(directory.absolute())
        if not set(name) & _TAKEN_APART and os.access(name, os.W_OK):
            return directory
    raise DiskError(
        f"no directory for temporary files has a path that the compiler can use: {preferred}",
        why="torch's Inductor cannot use paths with blanks, quotes or backslashes",
        fix="set TMPDIR to a directory with a plain path",
    )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_if_changed(path: Path, text: str) -> None:
    """Write a text file unless it holds ``text`` already: an equal file keeps its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except (FileNotFoundError, UnicodeDecodeError):
        pass
    write_text(path, text)


def write_depfile(output: Path, dependencies: Iterable[Path]) -> None:
    """Write ``<output>.d``, the files that ``output`` was made from, in make's syntax.

    Files of the build are named as Ninja knows them, which runs in the directory above.
    """
    names = [_escaped(path) for path in sorted(set(dependencies))]
    rule = " \\\n  ".join([f"{_escaped(output)}:", *names])
    write_text(output.with_name(f"{output.name}.d"), rule + "\n")


def _escaped(path: Path) -> str:
    whole, build = path.absolute(), Path.cwd()
    name = os.fspath(whole.relative_to(build.parent) if whole.is_relative_to(build) else whole)
    return name.replace("\\", "\\\\").replace(" ", "\\ ").replace("#", "\\#").replace("$", "$$")
