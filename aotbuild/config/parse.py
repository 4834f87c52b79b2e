"""From a TOML table to a dataclass, strictly: every error names its full dotted path."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard, TypeVar

from aotbuild.config.keys import bare, keys_of, mark, rules
from aotbuild.config.messages import choose_from, did_you_mean, joined, listed, located
from aotbuild.config.misplaced import likely_place
from aotbuild.config.rules import Choice, Pattern, Rule
from aotbuild.config.schema import ConstantInput, DeclaredDim, TensorInput
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


_EXAMPLES = {"source": '"digits.network:Net"', "shape": '["batch", 3, 224, 224]'}
"""What can be pasted for keys that have to be there."""


def parse_table(cls: type[T], table: object, path: str) -> T:
    """Build ``cls`` from a TOML table.

    Args:
        cls: A dataclass of ``aotbuild.config.schema``.
        table: The value found in the TOML file.
        path: Dotted path of the table, for errors.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type or breaks a rule.
    """
    if not isinstance(table, Mapping):
        raise _wrong_type(table, "a table", path)
    keys = keys_of(cls)
    for key, value in table.items():
        if key not in keys:
            hint = did_you_mean(key, keys)
            raise ConfigError(
                f'unknown key "{key}"',
                where=located(joined(path, key)),
                fix=likely_place(key, value, cls, path)
                or f"{hint}\n" * bool(hint) + f"known keys here: {listed(sorted(keys))}",
            )
    values: dict[str, Any] = {}
    for key, spec in keys.items():
        place = joined(path, key)
        if key in table:
            values[spec.name] = _parse_value(spec.hint, table[key], place)
        elif not spec.optional:
            raise ConfigError(
                f'"{key}" is missing',
                where=located(path),
                fix=f"add to [{path}]:\n{key} = {_EXAMPLES.get(key, '...')}",
            )
        else:
            _check_rules(spec.hint, spec.default, place)
    return cls(**values)


def _parse_value(hint: Any, value: object, path: str) -> Any:
    if mark(hint):
        return _SPECIAL[mark(hint)](value, path)
    parsed = _parse_bare(bare(hint), value, path)
    _check_rules(hint, parsed, path)
    return parsed


def _parse_bare(hint: Any, value: object, path: str) -> Any:
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if hint is Any:
        return value
    if origin is typing.Literal:
        return _parse_choice(args, value, path)
    if origin in {types.UnionType, typing.Union}:
        return _parse_union([arg for arg in args if arg is not type(None)], value, path)
    if origin is list:
        return _parse_array(args[0], value, path)
    if origin is dict:
        return _parse_entries(args[0], args[1], value, path)
    if _is_table(hint):
        return parse_table(hint, value, path)
    if not _is_a(value, hint):
        raise _wrong_type(value, _TYPE_NAMES[hint], path)
    return float(value) if hint is float else value  # type: ignore[arg-type]


def _check_rules(hint: Any, value: object, path: str) -> None:
    for rule in rules(hint):
        if not rule.holds(value):
            raise _broken(rule, value, path)


def _parse_array(hint: Any, value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        lone = not isinstance(value, dict)
        fix = f"write an array: [{_toml(value)}]" if lone else "write an array"
        raise _wrong_type(value, "an array", path, fix)
    return [_parse_value(hint, item, f"{path}[{i}]") for i, item in enumerate(value)]


def _parse_entries(names: Any, hint: Any, value: object, path: str) -> dict[str, Any]:
    """A table whose keys are names that the user chose."""
    if not isinstance(value, dict):
        raise _wrong_type(value, "a table", path)
    entries = {}
    for name, item in value.items():
        place = joined(path, name)
        _check_named(names, hint, name, item, path)
        _check_rules(names, name, place)
        entries[name] = _parse_value(hint, item, place)
    return entries


_ENTRIES: dict[str, tuple[type, ...]] = {
    "dim": (DeclaredDim,),
    "input": (TensorInput, ConstantInput),
}


def _check_named(names: Any, hint: Any, key: str, value: object, path: str) -> None:
    """Refuse the keys of an entry where the entry itself belongs: its name was forgotten."""
    noun = next((rule.noun for rule in rules(names) if isinstance(rule, Pattern)), "")
    tables: tuple[Any, ...] = _ENTRIES.get(mark(hint), (hint,))
    is_key = any(key in keys_of(cls) for cls in tables if _is_table(cls))
    if noun and is_key and not _may_be_entry(value):
        raise ConfigError(
            f"the name of the {noun} is missing",
            where=located(joined(path, key)),
            why=f'"{key}" is a key of each {noun}',
            fix=f"write it as {path.rpartition('.')[2]}.<name>.{key}, with the name of the {noun}",
        )


def _is_table(hint: Any) -> TypeGuard[type]:
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def _may_be_entry(value: object) -> bool:
    return _may_be_input(value) or value == "auto"


def _parse_choice(choices: tuple[str, ...], value: object, path: str) -> Any:
    if not isinstance(value, str):
        raise _wrong_type(value, "a string", path, f"choose from {listed(choices)}")
    if value not in choices:
        raise ConfigError(
            f'"{value}" is not a choice',
            where=located(path),
            fix=choose_from(value, choices),
        )
    return value


def _parse_union(members: Sequence[Any], value: object, path: str) -> Any:
    if len(members) == 1:
        return _parse_value(members[0], value, path)
    for member in members:
        kind = bare(member)
        origin = typing.get_origin(kind)
        if (origin is typing.Literal and isinstance(value, str)) or (
            origin is list and isinstance(value, list)
        ):
            _check_lone(members, value, path)
            return _parse_value(member, value, path)
        if (isinstance(value, Mapping) and _is_table(kind)) or (
            kind in _TYPE_NAMES and _is_a(value, kind)
        ):
            return _parse_value(member, value, path)
    kinds = [_plain_kind(bare(member)) for member in members]
    if float in kinds:
        kinds = [kind for kind in kinds if kind is not int]
    names = (_TYPE_NAMES.get(kind, _TYPE_NAMES[dict]) for kind in kinds)
    raise _wrong_type(value, " or ".join(names), path)


def _check_lone(members: Sequence[Any], value: object, path: str) -> None:
    """Refuse an item that should be in an array, where a word can stand in place of the array."""
    kinds = [bare(member) for member in members]
    items = [typing.get_args(kind)[0] for kind in kinds if typing.get_origin(kind) is list]
    words = [
        w
        for kind in kinds
        if typing.get_origin(kind) is typing.Literal
        for w in typing.get_args(kind)
    ]
    if not isinstance(value, str) or value in words:
        return
    for item in items:
        for rule in rules(item):
            if isinstance(rule, Choice) and not rule.holds(value):
                raise _broken(
                    dataclasses.replace(rule, choices=(*words, *rule.choices)), value, path
                )
        raise _wrong_type(value, "an array", path, f"write an array: [{_toml(value)}]")


def _plain_kind(kind: Any) -> Any:
    """The type of the values of a kind."""
    origin = typing.get_origin(kind)
    return str if origin is typing.Literal else origin or kind


def _parse_dim(value: object, path: str) -> DeclaredDim:
    if isinstance(value, str):
        if value != "auto":
            raise ConfigError(
                f'"{value}" is not a dimension',
                where=located(path),
                fix=did_you_mean(value, ["auto"]) or 'write { min = 1, max = 64 }, or "auto"',
            )
        return DeclaredDim(auto=True)
    if isinstance(value, int) and not isinstance(value, bool):
        raise ConfigError(
            f"the dimension is a number: {value}",
            where=located(path),
            why="a dimension is dynamic: it has a range",
            fix=f"write {{ min = 1, max = {value} }}; "
            f"for a fixed size write {value} in the shapes instead of the name",
        )
    dim = parse_table(DeclaredDim, value, path)
    if isinstance(value, Mapping) and "min" not in value and dim.multiple_of > 1:
        return dataclasses.replace(dim, min=dim.multiple_of)
    return dim


def _parse_input(value: object, path: str) -> Any:
    """A tensor, a constant, an array of inputs, or a table of inputs by name."""
    if isinstance(value, list):
        return [_parse_input(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, dict):
        raise _wrong_type(
            value,
            "a table",
            path,
            f"write {{ value = {_toml(value)} }} for a constant, "
            'or { shape = [...], dtype = "..." } for a tensor',
        )
    # A table under one of the telling keys is an input that has this name.
    telling = {key for key in _TELLING if not isinstance(value.get(key, {}), dict)}
    if telling & {"value", "none"}:
        return _parse_constant(value, path)
    if telling or not value or not all(_may_be_input(item) for item in value.values()):
        return parse_table(TensorInput, value, path)
    return {key: _parse_input(item, joined(path, key)) for key, item in value.items()}


_TELLING = ("shape", "value", "none")
"""Keys that tell a tensor or a constant from a table of inputs by name."""


def _parse_constant(value: dict[str, object], path: str) -> ConstantInput:
    constant = parse_table(ConstantInput, value, path)
    if constant.none == (constant.value is not None):
        raise ConfigError(
            "a constant has either a value or none = true",
            where=located(path),
            fix="write { value = ... } or { none = true }",
        )
    if constant.value != constant.value:
        raise ConfigError(
            "a constant cannot be nan",
            where=located(joined(path, "value")),
            why="nan equals nothing, so that no argument would ever be the constant",
            fix='declare the parameter as a tensor, { shape = [], dtype = "float64" }',
        )
    return constant


def _parse_plain(value: object, path: str) -> Any:
    """Whatever TOML and JSON both have: specifications of steps are written in JSON."""
    if isinstance(value, dict):
        return {key: _parse_plain(item, joined(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_parse_plain(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, str | int | float):
        raise ConfigError(
            f"dates and times cannot be passed on: {value}",
            where=located(path),
            fix=f'write it in quotes, "{value}", and let the source read it',
        )
    return value


_SPECIAL = {"input": _parse_input, "dim": _parse_dim, "plain": _parse_plain}
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


def _broken(rule: Rule, value: object, path: str) -> ConfigError:
    key = path.rpartition(".")[2]
    return ConfigError(
        rule.what.format(value=value, key=key),
        where=located(path),
        why=rule.why,
        fix=rule.way_out(value),
    )


def _wrong_type(value: object, expected: str, path: str, fix: str = "") -> ConfigError:
    kind = "true or false" if isinstance(value, bool) else _TYPE_NAMES.get(type(value), "")
    return ConfigError(
        f"expected {expected}, found {kind or 'a date or time'}: {_toml(value)}",
        where=located(path),
        fix=fix or _rewritten(value, expected, path),
    )


def _rewritten(value: object, expected: str, path: str) -> str:
    """What to write in place of a value of another type."""
    if expected == _TYPE_NAMES[dict] and "[" not in path:
        return f"write a table, [{path}]"
    if expected == _TYPE_NAMES[int] and isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    number = r"[+-]?[0-9]+" if expected == _TYPE_NAMES[int] else r"[+-]?[0-9]+([.][0-9]+)?"
    numeric = {_TYPE_NAMES[int], _TYPE_NAMES[float]}
    if expected in numeric and isinstance(value, str) and re.fullmatch(number, value):
        return f"write {value}, without quotes"
    return f"write {expected}"


def _toml(value: object) -> str:
    """A value as TOML writes it, nearly."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(item)}' for key, item in value.items())} }}"
    return str(value)
