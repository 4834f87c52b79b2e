"""What commands print: tables for people, JSON for programs.

On a terminal a table is as wide as that, and has colours unless NO_COLOR is set (FORCE_COLOR sets
them elsewhere, too). In a pipe each row is one line, however long.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_ENDLESS = 100_000
"""Columns of what is no terminal."""


def console() -> Console:
    """Where commands print: words in brackets, numbers and paths stay as they are."""
    out = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    if not out.is_terminal:
        out.width = _ENDLESS
    return out


def print_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[int] = (),
    styles: Mapping[str, str] | None = None,
) -> None:
    """Print a table.

    Args:
        head: The names of its columns; no line has them where all are empty.
        rows: The cells of its rows.
        right: The columns of numbers, which end below one another.
        styles: How cells with these texts look where there are colours, in rich's terms.
    """
    looks = styles or {}
    out = console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.show_header = any(head)
    for i, name in enumerate(head):
        table.add_column(name, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, looks.get(cell, "")) for cell in row))
    with out.capture() as captured:
        out.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))  # noqa: T201


def print_heading(title: str, rest: str = "") -> None:
    """Print a line of which the first words stand out."""
    console().print(Text.assemble((title, "bold"), rest), soft_wrap=True)


def print_json(report: Any) -> None:
    """Print a dataclass, or a list of them, as JSON."""
    print(json.dumps(report, default=dataclasses.asdict, indent=2, ensure_ascii=False))  # noqa: T201
