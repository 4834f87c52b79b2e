"""From a TOML table to a dataclass, strictly: every error names its full dotted path."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from aotbuild.errors import ConfigError

T = TypeVar("T")

_TYPE_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "an array",
    dict: "a table",
}


def located(path: str) -> str:
    """The place of a key, as errors show it."""
    return f"pyproject.toml: {path}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean "..."?`` for a likely typo, else an empty string."""
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.6)
    return f'did you mean "{folded[close[0]]}"?' if close else ""


def listed(names: Iterable[str]) -> str:
    """Names as a readable enumeration."""
    return ", ".join(names)


def parse_table(cls: type[T], table: object, path: str) -> T:
    """Build ``cls`` from a TOML table.

    Args:
        cls: A dataclass of ``aotbuild.config.schema``.
        table: The value found in the TOML file.
        path: Dotted path of the table, for errors.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type.
    """
    if not isinstance(table, Mapping):
        raise _wrong_type(table, "a table", path)
    hints = typing.get_type_hints(cls)
    fields = {f.name.replace("_", "-"): f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            hint = did_you_mean(key, fields)
            raise ConfigError(
                f'unknown key "{key}"',
                where=located(f"{path}.{key}"),
                fix=f"{hint} " * bool(hint) + f"known keys here: {listed(sorted(fields))}",
            )
    values: dict[str, Any] = {}
    for key, spec in fields.items():
        if key in table:
            values[spec.name] = _parse_value(hints[spec.name], table[key], f"{path}.{key}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ConfigError(
                f'"{key}" is missing',
                where=located(path),
                fix=f"add {key} = ... to [{path}]",
            )
    return cls(**values)


def _parse_value(hint: Any, value: object, path: str) -> Any:
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if hint is Any:
        return value
    if origin in {types.UnionType, typing.Union}:
        return _parse_union([arg for arg in args if arg is not type(None)], value, path)
    if origin is list:
        if not isinstance(value, list):
            raise _wrong_type(value, "an array", path)
        return [_parse_value(args[0], item, f"{path}[{i}]") for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong_type(value, "a table", path)
        return {key: _parse_value(args[1], item, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return parse_table(hint, value, path)  # type: ignore[arg-type]
    if not _is_a(value, hint):
        raise _wrong_type(value, _TYPE_NAMES[hint], path)
    return float(value) if hint is float else value  # type: ignore[arg-type]


def _parse_union(members: list[Any], value: object, path: str) -> Any:
    for member in members:
        if member in _TYPE_NAMES and _is_a(value, member):
            return value
    if len(members) == 1:
        return _parse_value(members[0], value, path)
    raise _wrong_type(value, " or ".join(_TYPE_NAMES[member] for member in members), path)


def _is_a(value: object, kind: Any) -> bool:
    if isinstance(value, bool):  # bool is a subclass of int; TOML tells them apart
        return kind is bool
    return isinstance(value, (int, float)) if kind is float else isinstance(value, kind)


def _wrong_type(value: object, expected: str, path: str) -> ConfigError:
    kind = "true or false" if isinstance(value, bool) else _TYPE_NAMES.get(type(value), "")
    return ConfigError(
        f"expected {expected}, found {kind or type(value).__name__}: {value!r}",
        where=located(path),
        fix=f"write {expected}",
    )
