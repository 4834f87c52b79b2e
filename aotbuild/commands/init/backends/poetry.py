"""poetry: packages listed or found by the project's name; metadata in ``[project]`` or its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aotbuild.commands.init.backends.constraints import specifiers
from aotbuild.commands.init.backends.move import Move, of_module, refuse_keys
from aotbuild.commands.init.document import Document
from aotbuild.errors import InitError

_POETRY = ("tool", "poetry")
_COPIED = ("name", "version", "description", "readme", "keywords", "classifiers")
_URLS = {"homepage": "Homepage", "repository": "Repository", "documentation": "Documentation"}
_OF_BUILDS = (*_COPIED, *_URLS, "authors", "maintainers", "license", "urls", "packages")
_METADATA = (*_OF_BUILDS, "dependencies", "extras", "scripts", "plugins", "include", "exclude")


def move_poetry(document: Document, root: Path) -> Move:
    """Move from poetry.

    Raises:
        InitError: It is told what scikit-build-core has nothing for.
    """
    refuse_keys(document, _POETRY, {"build": "has a build script of poetry"})
    refuse_keys(document, _POETRY, {"include": "puts files outside its packages into the wheel"})
    if document.get("project", "name") is None:
        _move_metadata(document)
    elif "version" in (document.get("project", "dynamic") or []):
        version = document.get(*_POETRY, "version")
        if version is None:
            raise InitError(
                "where the version comes from is not told",
                where="pyproject.toml: project.dynamic",
                fix='write version = "1.0" into [project], and call init again',
            )
        document.set(("project", "version"), version)
        document.drop_dynamic("version")
    packages = _packages(document, root)
    excluded = tuple(str(each) for each in document.get(*_POETRY, "exclude") or [])
    for key in _METADATA:
        document.remove(*_POETRY, key)
    return Move(("poetry-core", "poetry"), (), packages, excluded)


def _packages(document: Document, root: Path) -> dict[str, str]:
    told = document.get(*_POETRY, "packages")
    if not told:
        name = re.sub(r"[-.]+", "_", str(document.get("project", "name"))).lower()
        return of_module(root, name, ("", "src"))
    packages: dict[str, str] = {}
    for each in told:
        if isinstance(each.get("format"), str) and each["format"] == "sdist":
            continue
        if each.get("to"):
            raise InitError(
                "the project renames directories in the wheel, which init cannot move",
                where="pyproject.toml: tool.poetry.packages",
                fix="write tool.scikit-build.wheel.packages, and call init again",
            )
        name = str(each["include"]).rstrip("/").removesuffix("/**/*")
        packages |= of_module(root, name.replace("/", "."), (str(each.get("from", "")),))
    return packages


def _move_metadata(document: Document) -> None:
    """Make ``[project]`` of ``[tool.poetry]``, as poetry before 2.0 has it."""
    told = document.get(*_POETRY)
    if not isinstance(told, Mapping) or not told.get("name"):
        raise InitError(
            "the project has no name",
            where="pyproject.toml",
            why="neither [project] nor [tool.poetry] has one",
            fix='add to [project]: name = "digits"',
        )
    project = dict(_fields(told))
    dependencies = dict(told.get("dependencies", {}))
    python = dependencies.pop("python", None)
    if python is not None:
        project["requires-python"] = _specifiers("python", python)
    project["dependencies"] = [
        _requirement(name, value)
        for name, value in dependencies.items()
        if not (isinstance(value, Mapping) and value.get("optional"))
    ]
    tables: dict[str, Any] = {}
    if told.get("extras"):
        tables["optional-dependencies"] = {
            extra: [_requirement(name, dependencies.get(name, "*")) for name in names]
            for extra, names in told["extras"].items()
        }
    urls = {label: told[key] for key, label in _URLS.items() if told.get(key)}
    urls |= told.get("urls", {})
    for key, table in (("urls", urls), ("scripts", told.get("scripts", {}))):
        if table:
            tables[key] = dict(table)
    if told.get("plugins"):
        tables["entry-points"] = {group: dict(each) for group, each in told["plugins"].items()}
    for key, value in (*project.items(), *tables.items()):
        document.set(("project", key), value)


def _fields(told: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _COPIED:
        if told.get(key):
            yield key, told[key]
    if told.get("license"):
        yield "license", told["license"]
    for key in ("authors", "maintainers"):
        if told.get(key):
            yield key, [_person(str(each)) for each in told[key]]


def _person(text: str) -> dict[str, str]:
    match = re.fullmatch(r"\s*(.*?)\s*<([^<>]+)>\s*", text)
    return {"name": match[1], "email": match[2]} if match else {"name": text.strip()}


def _requirement(name: str, value: Any) -> str:
    if isinstance(value, str):
        return f"{name}{_specifiers(name, value)}"
    if not isinstance(value, Mapping) or not set(value) <= {
        *("version", "extras", "markers", "python", "optional"),
    }:
        raise _refused(name, value)
    extras = f"[{','.join(value['extras'])}]" if value.get("extras") else ""
    markers = [f"({value['markers']})"] if value.get("markers") else []
    pythons = _specifiers(name, value.get("python", "*"))
    limits = re.findall(r"([<>=!]+)([\d.]+)", pythons)
    markers += [f'python_version {sign} "{version}"' for sign, version in limits]
    marker = f"; {' and '.join(markers)}" if markers else ""
    return f"{name}{extras}{_specifiers(name, value.get('version', '*'))}{marker}"


def _specifiers(name: str, value: Any) -> str:
    try:
        return specifiers(str(value))
    except ValueError:
        raise _refused(name, value) from None


def _refused(name: str, value: Any) -> InitError:
    return InitError(
        f"the dependency {name} = {value!r} cannot be written as pip reads it",
        where=f"pyproject.toml: tool.poetry.dependencies.{name}",
        why="[project] has versions by PEP 440, and no alternatives, paths or repositories",
        fix="write it as such a version, and call init again",
    )
