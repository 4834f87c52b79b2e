"""A JSON Schema of ``[tool.aotbuild]``, for editors and validate-pyproject.

It is made of the dataclasses of ``schema``: their types, rules and docstrings. What is beyond
single values (files, ranges, names that have to fit each other) is left to the build.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from aotbuild.config.keys import Key, bare, docstrings, keys_of, mark, one_line, rules
from aotbuild.config.schema import Config, ConstantInput, DeclaredDim, Method, Model, TensorInput

FILE_NAME = "aotbuild.schema.json"
"""The schema in this package, as ``make generate`` wrote it."""

_PRIMITIVES = {str: "string", int: "integer", float: "number", bool: "boolean"}
_TABLES = {Model: "model", Method: "method", DeclaredDim: "range", TensorInput: "tensor"}
"""Tables that get a definition of their own."""


def get_schema(tool_name: str = "aotbuild") -> dict[str, Any]:
    """Rules for `[tool.$tool]`: models that are compiled into the wheel."""
    del tool_name
    text = files("aotbuild.config").joinpath(FILE_NAME).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def schema_text() -> str:
    """The text of the schema's file."""
    return json.dumps(make_schema(), indent=2) + "\n"


def make_schema() -> dict[str, Any]:
    """Make the schema of the dataclasses."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        # validate-pyproject needs an absolute one; nothing is fetched from it.
        "$id": f"file:///{FILE_NAME}",
        "title": "[tool.aotbuild]",
        **_object(Config),
        "definitions": {
            **{name: _object(cls) for cls, name in _TABLES.items()},
            "constant": _constant(),
            "input": _input(),
            "dim": _dim(),
            "plain": _plain(),
        },
    }


def _object(cls: type) -> dict[str, Any]:
    keys = keys_of(cls)
    docs = docstrings(cls)
    table: dict[str, Any] = {
        "description": one_line((cls.__doc__ or "").split("\n\n")[0]),
        "type": "object",
        "additionalProperties": False,
        "properties": {
            key: {"description": docs[spec.name], **_default(spec), **_value(spec.hint)}
            for key, spec in keys.items()
        },
    }
    required = [key for key, spec in keys.items() if spec.required]
    return {**table, "required": required} if required else table


def _default(spec: Key) -> dict[str, Any]:
    """The default, unless it is no value that could be written."""
    if not spec.optional or isinstance(spec.default, list | dict | None):
        return {}
    return {"default": spec.default}


def _value(hint: Any) -> dict[str, Any]:
    if mark(hint):
        return _reference(mark(hint))
    schema = _bare(bare(hint))
    for rule in rules(hint):
        schema.update(_fitting(rule.keywords(), schema.get("type")))
    return schema


def _fitting(keywords: Mapping[str, Any], kind: object) -> dict[str, Any]:
    """The keywords that say something about values of this type."""
    foreign = {"array": {"minProperties"}, "object": {"minItems"}}.get(str(kind), set())
    return {name: value for name, value in keywords.items() if name not in foreign}


def _bare(hint: Any) -> dict[str, Any]:
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin is typing.Literal:
        return {"type": "string", "enum": list(args)}
    if origin in {types.UnionType, typing.Union}:
        members = [_value(arg) for arg in args if arg is not type(None)]
        return members[0] if len(members) == 1 else {"anyOf": members}
    if origin is list:
        return {"type": "array", "items": _value(args[0])}
    if origin is dict:
        return {
            "type": "object",
            "additionalProperties": _value(args[1]),
            **_names(args[0]),
        }
    if dataclasses.is_dataclass(hint):
        assert isinstance(hint, type)  # noqa: S101
        return _reference(_TABLES[hint]) if hint in _TABLES else _object(hint)
    return {"type": _PRIMITIVES[hint]}


def _names(hint: Any) -> dict[str, Any]:
    keywords = {name: value for rule in rules(hint) for name, value in rule.keywords().items()}
    return {"propertyNames": keywords} if keywords else {}


def _reference(name: str) -> dict[str, Any]:
    # In draft 7 nothing counts beside a $ref, and a description stands beside it.
    return {"allOf": [{"$ref": f"#/definitions/{name}"}]}


def _dim() -> dict[str, Any]:
    """A table, or ``"auto"`` for short."""
    return {
        "description": one_line(DeclaredDim.__doc__ or ""),
        "if": {"type": "string"},
        "then": {"enum": ["auto"]},
        "else": _reference(_TABLES[DeclaredDim]),
    }


def _constant() -> dict[str, Any]:
    """Either a value, or ``none = true``."""
    return {
        **_object(ConstantInput),
        "oneOf": [
            {"required": ["value"], "properties": {"none": {"enum": [False]}}},
            {"required": ["none"], "properties": {"none": {"enum": [True]}, "value": False}},
        ],
    }


def _input() -> dict[str, Any]:
    """A tensor, a constant, an array of inputs, or a table of inputs by name.

    The conditions are those of the parser: what is wrong inside is told about one kind, not four.
    """
    anything = _reference("input")
    return {
        "description": "A tensor, a constant, an array of inputs, or a table of inputs by name.",
        "if": {"type": "array"},
        "then": {"items": anything},
        "else": {
            "type": "object",
            "if": {"anyOf": [_tells("value"), _tells("none")]},
            "then": _reference("constant"),
            "else": {
                "if": _tells("shape"),
                "then": _reference(_TABLES[TensorInput]),
                "else": {"minProperties": 1, "additionalProperties": anything},
            },
        },
    }


def _tells(key: str) -> dict[str, Any]:
    """A key tells the kind of input unless it is the name of another input in a table."""
    return {"required": [key], "properties": {key: {"not": {"type": "object"}}}}


def _plain() -> dict[str, Any]:
    """What TOML and JSON both have."""
    return {
        "type": ["string", "number", "boolean", "array", "object"],
        "items": _reference("plain"),
        "additionalProperties": _reference("plain"),
    }
