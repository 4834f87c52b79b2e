"""Checks of ``[project]`` and of the names of tables."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from aotbuild.config.messages import folded, located
from aotbuild.errors import ConfigError, warn

MINIMUM_PYTHON = "3.11"
"""The oldest Python that the engine in a wheel, and the runtime, are for."""

_TABLE = "aotbuild"


def misspelt_table(pyproject: Mapping[str, Any]) -> str:
    """The name of a table that is meant to be ``[tool.aotbuild]``; empty when there is none."""
    tool = pyproject.get("tool", {})
    for name, table in tool.items() if isinstance(tool, Mapping) else ():
        if name == _TABLE or not isinstance(table, Mapping):
            continue
        bare = folded(name)
        close = difflib.SequenceMatcher(None, bare, _TABLE).ratio() >= 0.8
        if bare == _TABLE or (close and isinstance(table.get("models"), Mapping)):
            return _dotted(["tool", name])
    return next(_misplaced_tables(pyproject, []), "")


def _misplaced_tables(table: Mapping[str, Any], path: list[str]) -> Iterator[str]:
    """Tables with models, named aotbuild or ``aot.build``, that are in another table."""
    for name, value in table.items():
        place = [*path, name]
        if not isinstance(value, Mapping) or place == ["tool", _TABLE]:
            continue
        named = _TABLE in {folded(name), folded("".join(place[-2:]))}
        if named and any(isinstance(value.get(key), Mapping) for key in ("models", "model")):
            yield _dotted(place)
        elif len(place) < _DEEPEST:
            yield from _misplaced_tables(value, place)


_DEEPEST = 4


def _dotted(path: list[str]) -> str:
    return ".".join(p if re.fullmatch(r"[\w-]+", p) else f'"{p}"' for p in path)


def check_table(pyproject: Mapping[str, Any]) -> None:
    """Check that no table is a misspelt ``[tool.aotbuild]``.

    Raises:
        ConfigError: One is.
    """
    if name := misspelt_table(pyproject):
        raise ConfigError(
            f"[{name}] is read by nobody",
            where=located(name),
            why="the wheel would not have the models that it declares",
            fix=f"did you mean [tool.{_TABLE}]? write [tool.{_TABLE}.models...]",
        )


def check_metadata(pyproject: Mapping[str, Any]) -> None:
    """Check that the two ways of dynamic metadata are not mixed.

    Raises:
        ConfigError: They are, which scikit-build-core refuses.
    """
    tool = pyproject.get("tool", {})
    legacy = tool.get("scikit-build", {}).get("metadata", {})
    if not legacy or not tool.get("dynamic-metadata"):
        return
    lines = []
    for field, table in legacy.items():
        lines += ["", "[[tool.dynamic-metadata]]"]
        lines += [f'field = "{field}"', *(f"{k} = {_toml(v)}" for k, v in table.items())]
    raise ConfigError(
        "tool.scikit-build.metadata cannot stand beside tool.dynamic-metadata",
        where=located(f"tool.scikit-build.metadata.{next(iter(legacy))}"),
        why="scikit-build-core takes one of the two, and aotbuild needs the latter",
        fix="write these lines in place of tool.scikit-build.metadata:" + "\n".join(lines),
    )


def warn_of_python(pyproject: Mapping[str, Any]) -> None:
    """Warn where ``requires-python`` allows a Python that the wheel is not for.

    Raises:
        ConfigError: It is no version specifier, which the build would end with.
    """
    project = pyproject.get("project", {})
    if "requires-python" in project.get("dynamic", []):
        return
    given = project.get("requires-python")
    try:
        allowed = SpecifierSet(str(given or ""))
    except InvalidSpecifier as error:
        raise ConfigError(
            f'"{given}" is not a version specifier',
            where=located("project.requires-python"),
            fix=f'write: requires-python = ">={MINIMUM_PYTHON}"',
        ) from error
    minor = int(MINIMUM_PYTHON.partition(".")[2])
    older = [f"3.{m}.{patch}" for m in range(minor) for patch in (0, 99)]
    if any(allowed.contains(version) for version in [*older, "2.7.18"]):
        line = f'requires-python = ">={MINIMUM_PYTHON}"'
        warn(
            f'requires-python = "{given}" allows Pythons that the wheel is not for'
            if given
            else "the project does not say for which Pythons it is",
            where=located("project.requires-python"),
            why=f"the compiled models need Python {MINIMUM_PYTHON}; on an older one pip would take "
            "the source distribution, and fail to build it",
            fix=f"write: {line}" if given else f"add to [project]: {line}",
        )


def _toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        if "\\" in value or '"' in value:
            return f"'{value}'" if "'" not in value else f"'''{value}'''"
        return f'"{value}"'
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
