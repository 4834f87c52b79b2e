"""``new``: a project with a network, its training, a declared model and a test."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from aotbuild.commands.init.command import Wanted, init
from aotbuild.commands.tables import print_heading
from aotbuild.config.values import RANDOM
from aotbuild.errors import InitError

_TEMPLATE = Path(__file__).with_name("template")

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""A name of a distribution: https://packaging.python.org/specifications/name-normalization"""


_HIDDEN = {"gitignore": ".gitignore"}


def new(directory: Path) -> int:
    """Write a project into a directory that is not there yet, or empty.

    Args:
        directory: Where; its name is that of the project.

    Returns:
        0, or 1 where the model cannot be traced, and nothing was kept.

    Raises:
        InitError: The directory is not empty, or cannot give the project its name.
    """
    name = directory.resolve().name
    package = re.sub(r"[-.]+", "_", name).lower()
    if not _NAME.fullmatch(name) or not package.isidentifier():
        raise InitError(
            f'"{name}" cannot be the name of a project',
            where="command line",
            why="the package is imported by it",
            fix="begin with a letter, and use letters, digits, - and _: aotbuild new pitch-net",
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InitError(
            f"{directory} is not empty" if directory.is_dir() else f"{directory} is a file",
            where="command line",
            fix="name a directory that is not there yet; aotbuild init declares a model of a "
            "project that is",
        )
    existed = directory.is_dir()
    try:
        _write(directory, name, package)
        wanted = Wanted(
            source=f"{package}.network:Net",
            name="net",
            inputs=["features=float32[batch,16]"],
            dims=["batch=1..256"],
            weights=RANDOM,
        )
        status = init(directory, wanted, yes=True)
    except BaseException:
        _remove(directory, existed=existed)
        raise
    if status:
        _remove(directory, existed=existed)
        return status
    _tell(directory)
    return 0


def _write(directory: Path, name: str, package: str) -> None:
    for file in sorted(_TEMPLATE.rglob("*")):
        if not file.is_file() or file.suffix == ".pyc":
            continue
        parts = [_filled(part, name, package) for part in file.relative_to(_TEMPLATE).parts]
        # So that nothing takes them for parts of this project, all of them are texts here.
        last = parts[-1].removesuffix(".txt")
        path = directory.joinpath(*parts[:-1], _HIDDEN.get(last, last))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(file.read_text("utf-8"), name, package), encoding="utf-8")


def _filled(text: str, name: str, package: str) -> str:
    return text.replace("PACKAGE", package).replace("NAME", name)


def _remove(directory: Path, *, existed: bool) -> None:
    """Remove what was written into a directory that was empty, or not there."""
    for path in directory.iterdir() if existed else [directory]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _tell(directory: Path) -> None:
    print_heading(f"\n{directory} is a project. ", "In it:")
    for command, what in (
        ("aotbuild develop", "makes the model importable, in seconds"),
        ("python -m pytest", "tests it, once pytest and numpy are installed"),
        ("python train.py", "trains it, and writes weights/net.safetensors"),
        ("pip wheel --no-deps .", "compiles it into a wheel"),
    ):
        print_heading(f"  {command:<22}", what)
