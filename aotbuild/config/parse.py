"""From a TOML table to a dataclass, strictly: every error names its full dotted path."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from aotbuild.config.schema import ConstantInput, Dim, TensorInput
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
    hints = typing.get_type_hints(cls, include_extras=True)
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
    if origin is typing.Annotated:
        return _SPECIAL[args[1]](value, path)
    if origin is typing.Literal:
        return _parse_choice(args, value, path)
    if origin in {types.UnionType, typing.Union}:
        return _parse_union([arg for arg in args if arg is not type(None)], value, path)
    if origin in {list, dict}:
        return _parse_many(origin, args[-1], value, path)
    if dataclasses.is_dataclass(hint):
        return parse_table(hint, value, path)  # type: ignore[arg-type]
    if not _is_a(value, hint):
        raise _wrong_type(value, _TYPE_NAMES[hint], path)
    return float(value) if hint is float else value  # type: ignore[arg-type]


def _parse_many(kind: type, hint: Any, value: object, path: str) -> Any:
    if not isinstance(value, kind):
        raise _wrong_type(value, _TYPE_NAMES[kind], path)
    if isinstance(value, dict):
        return {key: _parse_value(hint, item, f"{path}.{key}") for key, item in value.items()}
    assert isinstance(value, list)  # noqa: S101
    return [_parse_value(hint, item, f"{path}[{i}]") for i, item in enumerate(value)]


def _parse_choice(choices: tuple[str, ...], value: object, path: str) -> Any:
    if value not in choices:
        hint = did_you_mean(str(value), choices)
        raise ConfigError(
            f"{value!r} is not a choice",
            where=located(path),
            fix=f"{hint} " * bool(hint) + f"choose from {listed(choices)}",
        )
    return value


def _parse_union(members: list[Any], value: object, path: str) -> Any:
    if len(members) == 1:
        return _parse_value(members[0], value, path)
    for member in members:
        if dataclasses.is_dataclass(member) and isinstance(value, Mapping):
            return parse_table(member, value, path)  # type: ignore[arg-type]
        if member in _TYPE_NAMES and _is_a(value, member):
            return value
    names = (_TYPE_NAMES.get(member, _TYPE_NAMES[dict]) for member in members)
    raise _wrong_type(value, " or ".join(names), path)


def _parse_dim(value: object, path: str) -> Dim:
    if isinstance(value, str):
        if value != "auto":
            raise ConfigError(
                f'"{value}" is not a dimension',
                where=located(path),
                fix=did_you_mean(value, ["auto"]) or 'write { min = 1, max = 64 }, or "auto"',
            )
        return Dim(auto=True)
    if isinstance(value, int) and not isinstance(value, bool):
        raise ConfigError(
            f"the dimension is a number: {value}",
            where=located(path),
            fix=f"write {{ min = 1, max = {value} }}; "
            f"for a fixed size write {value} in the shapes instead of the name",
        )
    dim = parse_table(Dim, value, path)
    if isinstance(value, Mapping) and "min" not in value and dim.multiple_of > 1:
        return dataclasses.replace(dim, min=dim.multiple_of)
    return dim


def _parse_input(value: object, path: str) -> Any:
    """A tensor, a constant, an array of inputs, or a table of inputs by name."""
    if isinstance(value, list):
        return [_parse_input(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, dict):
        raise _wrong_type(value, "a table", path)
    if "value" in value or "none" in value:
        constant = parse_table(ConstantInput, value, path)
        if constant.none == (constant.value is not None):
            raise ConfigError(
                "a constant has either a value or none = true",
                where=located(path),
                fix="write { value = ... } or { none = true }",
            )
        return constant
    nested = value and all(_may_be_input(item) for item in value.values())
    if "shape" in value or not nested:
        return parse_table(TensorInput, value, path)
    return {key: _parse_input(item, f"{path}.{key}") for key, item in value.items()}


_SPECIAL = {"input": _parse_input, "dim": _parse_dim}
"""How values are read for which a type says too little, by the mark in their annotation."""


def _may_be_input(value: object) -> bool:
    """Whether a value can be an input by itself: a mistyped key of a tensor cannot."""
    if isinstance(value, list):
        return all(_may_be_input(item) for item in value)
    return isinstance(value, dict)


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
