"""Rules for single values that their type does not say.

``values`` and ``schema`` annotate types with them, the parser tells them, and the JSON schema shows
them: each rule is written once.
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aotbuild.config.messages import choose_from

NAME = r"[^\W\d]\w*"
"""A name in Python, unless it is a keyword."""

NO_KEYWORD = rf"(?!(?:.*\W)?(?:{'|'.join(keyword.kwlist)})(?!\w))"
"""Stands before a pattern of names: no word of the text is a keyword."""

_DOTTED = rf"{NAME}(?:\.{NAME})*"

DOTTED = NO_KEYWORD + _DOTTED
"""The dotted name of a module."""

REFERENCE = rf"{NO_KEYWORD}{_DOTTED}:{_DOTTED}"
"""``module:attribute``."""

_INSIDE = r"(?!/)(?!(?:.*/)?\.\.(?:/|$))[^\\]+"

FILE = _INSIDE
"""The path of a file inside the project, relative to it."""


def file_with(suffixes: tuple[str, ...]) -> str:
    """The pattern of a file inside the project that ends with one of ``suffixes``."""
    return f"{_INSIDE}(?:{'|'.join(map(re.escape, suffixes))})"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule, and what is told when it is broken."""

    what: str
    """What happened; ``{value}`` and ``{key}`` stand for what was written, and where."""

    why: str = ""
    """The reason, when ``what`` does not say it already."""

    fix: str
    """What to write instead."""

    def holds(self, value: Any) -> bool:
        """Whether a value of the right type keeps the rule."""
        raise NotImplementedError

    def keywords(self) -> dict[str, Any]:
        """The rule in JSON Schema."""
        raise NotImplementedError

    def way_out(self, value: Any) -> str:
        """What to do about a value that breaks the rule."""
        del value
        return self.fix


@dataclass(frozen=True, kw_only=True)
class Pattern(Rule):
    """A text has a form."""

    regex: str
    names: bool = True
    """Whether every word in it is a Python name, which a pattern can only nearly say."""

    noun: str = ""
    """What has this text as its name."""

    repair: Callable[[str], str] | None = None
    """Makes what was meant of a text that does not have the form."""

    def holds(self, value: Any) -> bool:
        """Whether the whole text has the form."""
        words = re.findall(r"(?!\d)\w+", value) if self.names else []
        return bool(re.fullmatch(self.regex, value)) and all(map(str.isidentifier, words))

    def keywords(self) -> dict[str, Any]:
        """The pattern without the names of groups, which JSON Schema does not have."""
        return {"pattern": f"^(?:{re.sub(r'[(][?]P<[a-z]+>', '(?:', self.regex)})$"}

    def way_out(self, value: Any) -> str:
        """What was meant, and what to write instead."""
        meant = self.repair(value) if self.repair else ""
        hint = f'did you mean "{meant}"? ' if meant != value and self.holds(meant) else ""
        return hint + self.fix


@dataclass(frozen=True, kw_only=True)
class Choice(Rule):
    """A text is one of a few."""

    choices: tuple[str, ...]
    fix: str = ""

    def holds(self, value: Any) -> bool:
        """Whether it is one of them."""
        return value in self.choices

    def keywords(self) -> dict[str, Any]:
        """The choices."""
        return {"enum": list(self.choices)}

    def way_out(self, value: Any) -> str:
        """The likely choice, and all."""
        return choose_from(value, self.choices)


@dataclass(frozen=True, kw_only=True)
class Within(Rule):
    """A number is finite, not below a minimum and not above a maximum."""

    minimum: float | None = None
    maximum: float | None = None

    def holds(self, value: Any) -> bool:
        """Whether the number is in the range."""
        above = self.minimum is None or value >= self.minimum
        below = self.maximum is None or value <= self.maximum
        return math.isfinite(value) and above and below

    def keywords(self) -> dict[str, Any]:
        """The limits; JSON has no infinite numbers."""
        limits = {"minimum": self.minimum, "maximum": self.maximum}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True, kw_only=True)
class NotEmpty(Rule):
    """An array or a table has an entry, and a table that needs one is there."""

    def holds(self, value: Any) -> bool:
        """Whether there is an entry."""
        return bool(value)

    def keywords(self) -> dict[str, Any]:
        """The keywords for arrays and for tables; each ignores those of the other."""
        return {"minItems": 1, "minProperties": 1}


@dataclass(frozen=True, kw_only=True)
class Unique(Rule):
    """No entry of an array comes twice."""

    def holds(self, value: Any) -> bool:
        """Whether all entries differ."""
        return len(set(value)) == len(value)

    def keywords(self) -> dict[str, Any]:
        """The keyword of the same name."""
        return {"uniqueItems": True}


def name_of(
    noun: str, *, fix: str, why: str = "", private: bool = True, reserved: tuple[str, ...] = ()
) -> Pattern:
    """The rule for the names of models, inputs, dimensions and so on.

    Args:
        noun: What has the name.
        fix: Which names there can be.
        why: The reason for the rule.
        private: Whether a leading underscore is allowed.
        reserved: Names that something else has.
    """
    others = f"(?!(?:{'|'.join(reserved)})$)" if reserved else ""
    article = "an" if noun[0] in "aeiou" else "a"
    return Pattern(
        what=f'"{{value}}" cannot be the name of {article} {noun}',
        why=why,
        fix=fix,
        regex=others + ("" if private else "(?!_)") + NO_KEYWORD + NAME,
        noun=noun,
        repair=lambda text: re.sub(r"\W", "_", text),
    )


def reference_to(kind: str, *, fix: str, suffixes: tuple[str, ...] = ()) -> Pattern:
    """The rule for ``module:attribute``, or a file of the project in its place.

    Args:
        kind: What is referred to.
        fix: What can be written.
        suffixes: Endings of the files.
    """
    article = "an" if kind[0] in "aeiou" else "a"
    return Pattern(
        what=f'"{{value}}" is not {article} {kind}',
        fix=fix,
        regex=f"(?:{REFERENCE})" + (f"|(?:{file_with(suffixes)})" if suffixes else ""),
        names=False,
        repair=_as_reference,
    )


def _as_reference(text: str) -> str:
    """What a path, a dotted name or a call was meant to be."""
    if "/" in text and ".py:" not in text:
        return ""  # a file of another kind
    path = re.sub(r"^(\./)?((src|python)/)?", "", text)  # modules are imported from inside of these
    reference = path.removesuffix("()").replace(".py:", ":").replace("/", ".")
    module, _, attribute = reference.rpartition(".")
    return reference if ":" in reference else f"{module}:{attribute}"
