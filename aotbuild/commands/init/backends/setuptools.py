"""setuptools: packages found or listed, versions of attributes and files, no extensions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from aotbuild.commands.init.backends.move import (
    Move,
    need_project,
    refuse_keys,
    tops,
)
from aotbuild.commands.init.backends.versions import (
    SCM,
    file_of,
    version_of_file,
    version_of_git,
    version_of_name,
)
from aotbuild.commands.init.document import Document
from aotbuild.errors import InitError

_TOOL = ("tool", "setuptools")
_NOT_MOVED = {
    "ext-modules": "compiles extension modules by setuptools",
    "cmdclass": "has commands of setuptools of its own",
    "script-files": "installs scripts that are files",
    "data-files": "installs files outside its packages",
    "py-modules": "has modules outside its packages",
}
_ONLY_DATA = {"package-data", "include-package-data", "exclude-package-data", "zip-safe"}
_OF_SETUP = {"zip_safe", "include_package_data", "package_data", "setup_requires"}
"""Arguments of setup() that are of no meaning any more: all files of a package are in the wheel."""

_NOT_FOUND = (
    "tests",
    "test",
    "docs",
    "doc",
    "examples",
    "example",
    "scripts",
    "benchmarks",
    "tools",
)
"""Directories that setuptools leaves out of a flat layout, the usual ones of them."""


def move_setuptools(document: Document, root: Path) -> Move:
    """Move from setuptools."""
    need_project(document, "setup.cfg or setup.py")
    _refuse_setup(root)
    refuse_keys(document, _TOOL, _NOT_MOVED)
    scm = _move_dynamic(document, root)
    packages, excluded = _packages(document, root)
    for key in (*_ONLY_DATA, "packages", "package-dir", "dynamic"):
        document.remove(*_TOOL, key)
    notes = []
    if (root / "setup.py").is_file():
        notes.append("setup.py is read by nobody any more: remove it")
    if (root / "MANIFEST.in").is_file():
        notes.append(
            "MANIFEST.in is read by nobody any more: an sdist has all files that git knows, and "
            "tool.scikit-build.sdist.exclude leaves some out"
        )
    dropped = ("setuptools", "wheel", *(() if scm else ("setuptools-scm",)))
    return Move(dropped, (SCM,) if scm else (), packages, tuple(excluded), notes)


def _refuse_setup(root: Path) -> None:
    """Refuse a setup.py that does more than to call setup()."""
    file = root / "setup.py"
    if not file.is_file():
        return
    calls = [
        node
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", "") or getattr(node.func, "attr", "")) == "setup"
    ]
    names = [str(keyword.arg) for call in calls for keyword in call.keywords]
    others = [name for name in names if name not in _OF_SETUP]
    if others:
        compiled = {"ext_modules", "cmdclass", "cffi_modules", "rust_extensions"} & set(others)
        raise InitError(
            "setup.py does what init cannot move to scikit-build-core",
            where=f"setup.py: {', '.join(others)}",
            why="it compiles extension modules, or has commands of its own"
            if compiled
            else "what it tells setuptools is not in pyproject.toml",
            fix="let a CMakeLists.txt compile them, see scikit-build-core's documentation: init "
            "then adds the models to it"
            if compiled
            else "move it to [project] and [tool.setuptools] of pyproject.toml, and call init "
            "again",
        )


def _move_dynamic(document: Document, root: Path) -> bool:
    """Move the fields that setuptools finds out; whether setuptools-scm finds the version out."""
    fields = list(document.get("project", "dynamic") or [])
    scm = False
    for name in fields:
        told = document.get(*_TOOL, "dynamic", name)
        if name == "version":
            scm = _move_version(document, root, told)
        elif name in {"dependencies", "readme", "description"} and "file" in (told or {}):
            document.set(("project", name), _of_files(name, told, root))
            document.drop_dynamic(name)
        elif name == "optional-dependencies" and told:
            extras = {key: _of_files("dependencies", each, root) for key, each in told.items()}
            document.set(("project", name), extras)
            document.drop_dynamic(name)
        else:
            raise InitError(
                f"setuptools finds {name} out in a way that init cannot move",
                where="pyproject.toml: project.dynamic",
                fix=f"write {name} into [project], and call init again",
            )
    return scm


def _move_version(document: Document, root: Path, told: Any) -> bool:
    if isinstance(told, dict) and "attr" in told:
        module, _, name = str(told["attr"]).rpartition(".")
        bases = tuple(str(base) for base in _package_dir(document).values())
        version_of_name(document, root, file_of(root, module, (*bases, "src", "")), name)
        return False
    if isinstance(told, dict) and "file" in told:
        file = told["file"][0] if isinstance(told["file"], list) else told["file"]
        version_of_file(document, root, str(file), r"^\s*(?P<value>\S+)")
        return False
    if document.get("tool", "setuptools_scm") is None:
        raise InitError(
            "where the version comes from is not told",
            where="pyproject.toml: project.dynamic",
            why="it is dynamic, and neither tool.setuptools.dynamic nor tool.setuptools_scm is "
            "there",
            fix='write version = "1.0" into [project], and call init again',
        )
    version_of_git(document)
    return True


def _of_files(name: str, told: Any, root: Path) -> Any:
    """What a field is by its files."""
    files = told["file"] if isinstance(told["file"], list) else [told["file"]]
    if name == "readme":
        return files[0]
    lines = [line for file in files for line in (root / file).read_text("utf-8").splitlines()]
    if name == "description":
        return " ".join(line.strip() for line in lines if line.strip())
    kept = [line.partition(" #")[0].strip() for line in lines]
    kept = [line for line in kept if line and not line.startswith("#")]
    for line in kept:
        if line.startswith("-"):
            raise InitError(
                f'"{line}" is no dependency',
                where=", ".join(files),
                why="the dependencies are read from this file, and this line is for pip alone",
                fix="write the dependencies into [project], and call init again",
            )
    return kept


def _package_dir(document: Document) -> dict[str, str]:
    return dict(document.get(*_TOOL, "package-dir") or {})


def _packages(document: Document, root: Path) -> tuple[dict[str, str], list[str]]:
    """The directories that go into the wheel, and patterns of what does not."""
    told = document.get(*_TOOL, "packages")
    places = _package_dir(document)
    if isinstance(told, list):
        return dict(_listed([str(name) for name in told], places)), []
    find = (told or {}).get("find") if isinstance(told, dict) else None
    bases = [str(base) for base in (find or {}).get("where", [])]
    bases = bases or [places.get("", "src" if (root / "src").is_dir() else "")]
    include = (find or {}).get("include", ["*"])
    exclude = list((find or {}).get("exclude", []))
    found: dict[str, str] = {}
    for base in (base.strip("./") for base in bases):
        for name, place in tops(root, base).items():
            wanted = any(fnmatchcase(name, pattern.split(".")[0]) for pattern in include)
            usual = find is not None or base or name not in _NOT_FOUND
            if wanted and usual and not any(fnmatchcase(name, each) for each in exclude):
                found[name] = place
    inside = [name for name in exclude if "." in name]
    return found, [name.replace(".", "/") for name in inside]


def _listed(names: list[str], places: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if name.rpartition(".")[0] in names:
            continue  # its directory is in that one
        inside = name.replace(".", "/")
        yield inside, places.get(name) or Path(places.get("", ""), inside).as_posix()
