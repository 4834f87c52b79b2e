"""Laying out generated Python over lines, as a formatter would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 99
"""Longest line of generated code."""

_INDENT = 4


@dataclass(frozen=True)
class Brackets:
    """Something in brackets: a literal or the arguments of a call."""

    opening: str
    items: Sequence[Source]
    closing: str

    @property
    def literal(self) -> bool:
        """Whether this is a list, tuple or dict, and no call."""
        return len(self.opening) == 1

    def __str__(self) -> str:
        comma = "," if self.opening == "(" and len(self.items) == 1 else ""
        return f"{self.opening}{', '.join(map(str, self.items))}{comma}{self.closing}"


@dataclass(frozen=True)
class Pair:
    """A key and a value of a dict."""

    key: str
    value: Source

    def __str__(self) -> str:
        return f"{self.key}: {self.value}"


Source = str | Brackets | Pair


def laid_out(source: Source, indent: int, before: int = 0, after: int = 0) -> str:
    """``source`` on one line if it fits, else over several.

    Args:
        source: What to write.
        indent: Columns by which the statement is indented.
        before: Columns of text between the indentation and ``source``.
        after: Columns of text behind it.
    """
    line = str(source)
    if indent + before + len(line) + after <= WIDTH or isinstance(source, str):
        return line
    if isinstance(source, Pair):
        value = laid_out(source.value, indent, before + len(source.key) + 2, after)
        return f"{source.key}: {value}"
    inner = indent + _INDENT
    body = ", ".join(map(str, source.items))
    if not source.literal and inner + len(body) <= WIDTH:
        rows = [body]
    else:
        comma = "" if not source.literal and len(source.items) == 1 else ","
        rows = [laid_out(item, inner, after=len(comma)) + comma for item in source.items]
    lines = "".join(f"{' ' * inner}{row}\n" for row in rows)
    return f"{source.opening}\n{lines}{' ' * indent}{source.closing}"


def statement(head: str, source: Source, indent: int) -> str:
    """A statement, on one line if it fits.

    Args:
        head: How it begins: ``return ``, or the left side of an assignment.
        source: What follows.
        indent: Columns by which it is indented.
    """
    return f"{' ' * indent}{head}{laid_out(source, indent, before=len(head))}"
