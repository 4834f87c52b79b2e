"""Sizes in shapes: a number, a dimension, or a size derived from one, such as ``2*batch+1``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aotbuild.config.rules import NAME, NO_KEYWORD, Pattern

_DERIVED = (
    rf"{NO_KEYWORD}(?!.*\*.*\*)\s*"  # one factor: before the name or behind it
    rf"(?:(?P<before>[1-9][0-9]*)\s*\*\s*)?(?P<dim>{NAME})(?:\s*\*\s*(?P<behind>[1-9][0-9]*))?"
    r"(?:\s*(?P<sign>[+-])\s*(?P<offset>[0-9]+))?\s*"
)

SIZE = Pattern(
    what='"{value}" is not a size',
    why="a size is a dimension times a number, plus or minus a number",
    fix='write a number, the name of a dimension ("batch"), or a size derived from one: '
    '"2*batch", "seq+1" (declare the smaller one of two)',
    regex=_DERIVED,
)
"""What a text in a shape looks like."""


@dataclass(frozen=True)
class Size:
    """The size ``factor * dim + offset``: what torch.export can derive from a dimension."""

    dim: str
    factor: int = 1
    offset: int = 0

    def at(self, size: int) -> int:
        """The size when ``dim`` has this one."""
        return self.factor * size + self.offset

    def __str__(self) -> str:
        factor = "" if self.factor == 1 else f"{self.factor}*"
        return f"{factor}{self.dim}" + (f"{self.offset:+d}" if self.offset else "")


def parse_size(text: str) -> Size | None:
    """Read a size such as ``batch``, ``2*batch`` or ``seq + 1``; None for anything else."""
    found = re.fullmatch(_DERIVED, text)
    if found is None or not SIZE.holds(text):
        return None
    factor = int(found["before"] or found["behind"] or 1)
    offset = int(f"{found['sign'] or '+'}{found['offset'] or 0}")
    return Size(found["dim"], factor, offset)
