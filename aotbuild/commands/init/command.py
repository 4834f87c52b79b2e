"""``init``: find, show what would change, ask, write, and check."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from aotbuild.commands.init.backends import moved
from aotbuild.commands.init.backends.move import Move, place_packages
from aotbuild.commands.init.classes import ModuleClass, find_classes, is_part
from aotbuild.commands.init.declare import Given, model_tables, parse_dim, parse_input
from aotbuild.commands.init.document import Document
from aotbuild.commands.tables import console, print_heading, print_table
from aotbuild.config.values import RANDOM
from aotbuild.config.wheel_packages import automatic_names, project_packages
from aotbuild.errors import InitError
from aotbuild.hook.build_system import BACKEND, PARTS, torch_pin

_PROVIDER = '[[tool.dynamic-metadata]]\nprovider = "aotbuild"\n'
_CMAKE = "find_package(AotBuild REQUIRED)\naotbuild_add_models()\n"
_ADDED = re.compile(r"^\s*aotbuild_add_models?\s*\(", re.MULTILINE)


@dataclass(frozen=True)
class Wanted:
    """What the command line tells of the model."""

    source: str = ""
    """``module:attribute``, or the name of a class; found where it is empty."""
    name: str = ""
    inputs: Sequence[str] = ()
    dims: Sequence[str] = ()
    arguments: Sequence[str] = ()
    """What the constructor takes: names and values of TOML, such as ``hidden=64``."""
    weights: str = ""
    package: str = ""


@dataclass(frozen=True)
class Change:
    """A file that changes."""

    path: Path
    old: str | None
    """Its text; None where there is none yet."""
    new: str

    def write(self) -> None:
        """Write the new text."""
        self.path.write_text(self.new, encoding="utf-8")

    def restore(self) -> None:
        """Write the old text again, or remove the file."""
        if self.old is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_text(self.old, encoding="utf-8")


def init(root: Path, wanted: Wanted, *, dry: bool = False, yes: bool = False) -> int:
    """Declare a model of a project.

    Args:
        root: The directory of the project.
        wanted: The model.
        dry: Whether the changes are shown only.
        yes: Whether nothing is asked.

    Returns:
        0, or 1 where the model cannot be traced, and nothing was changed.

    Raises:
        InitError: The declaration cannot be made.
    """
    asks = not yes and not dry and sys.stdin.isatty() and sys.stdout.isatty()
    changes, name, notes = _changes(root, wanted, asks=asks)
    for change in changes:
        _show(change, root)
    for note in notes:
        print_heading("note: ", note)
    if dry:
        return 0
    if asks and not click.confirm("\nwrite this?", default=True):
        print_heading("nothing was changed")
        return 0
    for change in changes:
        change.write()
    try:
        status = _check(root, name)
    except BaseException:
        _undo(changes)
        raise
    if status:
        _undo(changes)
        return status
    print_heading(f"\n{name} is declared: ", "pip wheel . builds it")
    return 0


def _changes(root: Path, wanted: Wanted, *, asks: bool) -> tuple[list[Change], str, list[str]]:
    """The files that change, the name of the model, and what the user should know."""
    file = root / "pyproject.toml"
    old = file.read_text(encoding="utf-8") if file.is_file() else None
    document = Document(old if old is not None else _new_project(root))
    move = moved(document, root)
    found = _chosen(root, wanted.source, asks=asks)
    name = wanted.name or _snake(found.name)
    if not name.isidentifier():
        raise InitError(
            f'"{name}" cannot be the name of a model',
            where="command line: --name",
            why="users import it by this name",
            fix="write a name of Python: --name net",
        )
    if document.get("tool", "aotbuild", "models", name) is not None:
        raise InitError(
            f'the model "{name}" is declared already',
            where=f"pyproject.toml: tool.aotbuild.models.{name}",
            fix="give this one another name: --name other",
        )
    inputs = _inputs(found, wanted, asks=asks)
    arguments = _arguments(found, wanted, asks=asks)
    if wanted.weights not in {"", RANDOM} and not (root / wanted.weights).is_file():
        raise InitError(
            f"there is no file {wanted.weights}",
            where="command line: --weights",
            fix="name a file of safetensors, or of torch.save, relative to the project",
        )
    tables = model_tables(
        name,
        found.source,
        inputs,
        dict(map(parse_dim, wanted.dims)),
        weights=wanted.weights,
        arguments=arguments,
    )
    _build_system(document, move)
    place_packages(document, root, move)
    if document.get("tool", "dynamic-metadata") is None or not any(
        each.get("provider") == "aotbuild" for each in document.get("tool", "dynamic-metadata")
    ):
        document.add_dynamic("dependencies")
        document.add_tables(_PROVIDER)
    package = wanted.package or _package(document, root, move, found.module)
    if package and document.get("tool", "aotbuild", "package") is None:
        document.add_tables(f'[tool.aotbuild]\npackage = "{package}"\n')
    document.add_tables(tables)
    changes = [Change(file, old, document.text()), *_cmake(root)]
    return changes, name, move.notes


def _new_project(root: Path) -> str:
    """The metadata of a project that has none, and nothing that may have it elsewhere."""
    for name in ("setup.py", "setup.cfg"):
        if (root / name).is_file():
            raise InitError(
                "the project has no pyproject.toml",
                where=str(root),
                why=f"its metadata is in {name}, which only setuptools reads",
                fix="write pyproject.toml with [project]: name, version, requires-python, "
                "dependencies; then call init again",
            )
    name = re.sub(r"[^\w.-]+", "-", root.resolve().name).strip("-_.") or "project"
    return f'[project]\nname = "{name}"\nversion = "0.1.0"\nrequires-python = ">=3.11"\n'


def _build_system(document: Document, move: Move) -> None:
    parts = [torch_pin() if name == "torch" else text for name, text in PARTS.items()]
    document.require([*parts, *move.required], move.dropped)
    if document.get("build-system", "build-backend") != BACKEND:
        document.set(("build-system", "build-backend"), BACKEND)


def _package(document: Document, root: Path, move: Move, module: str) -> str:
    """The package of the models, where it is not what follows from the project by itself."""
    top = module.rpartition(".")[0] or module
    names = project_packages(root)
    own = max(
        (name for name in names if module == name or module.startswith(f"{name}.")),
        key=len,
        default=top,
    )
    directory = root / names.get(own, own)
    last = "models"
    if (directory / last).exists() or (directory / f"{last}.py").exists():
        last = "compiled"
    usual = automatic_names(str(document.get("project", "name") or ""))
    if last == "models" and own in usual and len(move.packages or {own: ""}) == 1:
        return ""
    return f"{own}.{last}"


def _cmake(root: Path) -> list[Change]:
    """The project's own CMakeLists.txt with the models."""
    file = root / "CMakeLists.txt"
    if not file.is_file():
        return []
    old = file.read_text(encoding="utf-8")
    if _ADDED.search(old):
        return []
    return [Change(file, old, f"{old.rstrip()}\n\n{_CMAKE}")]


def _chosen(root: Path, source: str, *, asks: bool) -> ModuleClass:
    """The class that is meant, or the only one that is part of no other."""
    packages = {name: root / place for name, place in project_packages(root).items()}
    classes = find_classes(packages)
    if source:
        fitting = [each for each in classes if source in {each.source, each.name}]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting and ":" in source:
            # A factory or an instance, of which reading tells nothing; check traces it.
            module, _, name = source.partition(":")
            return ModuleClass(module, name, root, 0, (), ())
        raise _no_class(
            f'no class of torch.nn.Module is called "{source}"'
            if not fitting
            else f'several classes are called "{source}"',
            fitting or classes,
            root,
        )
    whole = [each for each in classes if not is_part(each, classes)]
    if len(whole) == 1:
        return whole[0]
    if not whole:
        raise _no_class("no class of torch.nn.Module is found", classes, root)
    if not asks:
        raise _no_class("the project has several classes of torch.nn.Module", whole, root)
    rows = [
        (str(i), each.source, f"{each.file.relative_to(root)}:{each.line}")
        for i, each in enumerate(whole, 1)
    ]
    print_table(("", "class", "where"), rows)
    number = click.prompt("which one", type=click.IntRange(1, len(whole)))
    return whole[number - 1]


def _no_class(what: str, classes: Sequence[ModuleClass], root: Path) -> InitError:
    lines = "\n".join(f"  aotbuild init {each.source}" for each in classes[:_SHOWN])
    return InitError(
        what,
        where=str(root),
        why="" if classes else "its packages were read, and nothing in them was imported",
        fix=f"name what makes the model:\n{lines}"
        if classes
        else "name what makes the model, such as a function: aotbuild init digits.network:make",
    )


_SHOWN = 12


def _inputs(found: ModuleClass, wanted: Wanted, *, asks: bool) -> list[Given]:
    """The tensors that the model takes: those of the command line, and what is asked for."""
    given = [parse_input(text) for text in wanted.inputs]
    names = {each.name for each in given}
    missing = [name for name in found.takes if name not in names]
    if missing and not asks:
        shown = " ".join(f"--input '{name}=float32[batch,8]'" for name in missing)
        raise InitError(
            f"the shape of {' and '.join(missing)} is not known",
            where=f"{found.source}: forward()",
            why="no source tells which sizes a tensor has",
            fix=f"tell it, by numbers and by names of sizes that may differ: {shown}",
        )
    for name in missing:
        print_heading(f"\n{name}", ": its dtype and shape, such as float32[batch,1,8,8]")
        given.append(parse_input(f"{name}={click.prompt(name)}"))
    if not given:
        raise InitError(
            "what the model takes is not known",
            where=found.source,
            fix="tell it: --input 'image=float32[batch,1,8,8]'",
        )
    order = [*found.takes, *(each.name for each in given)]
    return sorted(given, key=lambda each: order.index(each.name))


def _arguments(found: ModuleClass, wanted: Wanted, *, asks: bool) -> Mapping[str, str]:
    """What the constructor takes, as TOML writes the values."""
    given: dict[str, str] = {}
    for text in wanted.arguments:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise InitError(
                f'"{text}" is no argument',
                where="command line: --arg",
                fix="write its name and its value as TOML has it: --arg hidden=64",
            )
        given[name.strip()] = value.strip()
    for name in found.needs:
        if name in given:
            continue
        if not asks:
            raise InitError(
                f"{found.name}() needs {name}",
                where=f"{found.source}: __init__()",
                fix=f"tell it: --arg {name}=64; or name a function that makes the model",
            )
        given[name] = click.prompt(f"{name}, which {found.name}() needs, as TOML writes it")
    return given


def _show(change: Change, root: Path) -> None:
    name = change.path.relative_to(root).as_posix()
    lines = difflib.unified_diff(
        (change.old or "").splitlines(), change.new.splitlines(), name, name, lineterm=""
    )
    out = console()
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        out.print(line, style=styles.get(line[:1], ""), soft_wrap=True)


def _check(root: Path, name: str) -> int:
    print_heading("\nchecking it, without compiling")
    from aotbuild.commands.check import check_project

    return check_project(root, [name])


def _undo(changes: Sequence[Change]) -> None:
    for change in changes:
        change.restore()
    print_heading("nothing was changed: the model has to be traced first")


def _snake(name: str) -> str:
    """``SpeechEncoder`` as ``speech_encoder``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
