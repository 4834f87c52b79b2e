"""The keys of a table, from the dataclass that declares it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aotbuild.config.rules import NotEmpty, Rule


@dataclass(frozen=True)
class Key:
    """A key that a table can have."""

    key: str
    """As TOML spells it."""

    name: str
    """As Python spells it."""

    hint: Any
    """Its type, with the rules."""

    spec: dataclasses.Field[Any]

    @property
    def optional(self) -> bool:
        """Whether the dataclass has a default for it."""
        missing = dataclasses.MISSING
        return self.spec.default is not missing or self.spec.default_factory is not missing

    @property
    def default(self) -> Any:
        """The value when the key is left out."""
        factory = self.spec.default_factory
        return self.spec.default if factory is dataclasses.MISSING else factory()

    @property
    def required(self) -> bool:
        """Whether the key has to be written."""
        return not self.optional or any(isinstance(rule, NotEmpty) for rule in rules(self.hint))


_FOUND: dict[type, Mapping[str, Key]] = {}


def keys_of(cls: type) -> Mapping[str, Key]:
    """The keys of the table that ``cls`` declares, by their spelling in TOML."""
    if cls not in _FOUND:
        _FOUND[cls] = _read_keys(cls)
    return _FOUND[cls]


def _read_keys(cls: type) -> dict[str, Key]:
    hints = typing.get_type_hints(cls, include_extras=True)
    keys = {}
    for spec in dataclasses.fields(cls):
        key = spec.name.replace("_", "-")
        keys[key] = Key(key, spec.name, hints[spec.name], spec)
    return keys


def bare(hint: Any) -> Any:
    """A type without its rules."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def mark(hint: Any) -> str:
    """The name of the kind of value in the annotation, if it has one."""
    names = (item for item in _metadata(hint) if isinstance(item, str))
    return next(names, "")


def rules(hint: Any) -> list[Rule]:
    """The rules in the annotation of a type."""
    return [item for item in _metadata(hint) if isinstance(item, Rule)]


def _metadata(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()


def docstrings(cls: type) -> dict[str, str]:
    """The docstrings under the attributes of a dataclass and its bases, by attribute, in one line.

    Python keeps the docstrings of classes only; these are read from the source.
    """
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            module = ast.parse(inspect.getsource(sys.modules[base.__module__]))
            (node,) = (
                item
                for item in module.body
                if isinstance(item, ast.ClassDef) and item.name == base.__name__
            )
            texts.update(_attribute_docstrings(node))
    return texts


def _attribute_docstrings(node: ast.ClassDef) -> dict[str, str]:
    texts = {}
    for attribute, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(attribute, ast.AnnAssign)
            and isinstance(attribute.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            texts[attribute.target.id] = one_line(str(text.value.value))
    return texts


def one_line(text: str) -> str:
    """A docstring as one line of Markdown."""
    return " ".join(text.split()).replace("``", "`")
