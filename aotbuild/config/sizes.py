"""Sizes in shapes: a number, a dimension, or a size derived from one, such as ``2*batch+1``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = r"[^\W\d]\w*"
_DERIVED = re.compile(
    rf"(?:(?P<before>\d+)\s*\*\s*)?(?P<dim>{_NAME})(?:\s*\*\s*(?P<behind>\d+))?"
    r"(?:\s*(?P<sign>[+-])\s*(?P<offset>\d+))?"
)


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
    found = _DERIVED.fullmatch(text.strip())
    if found is None or (found["before"] and found["behind"]):
        return None
    factor = int(found["before"] or found["behind"] or 1)
    offset = int(f"{found['sign'] or '+'}{found['offset'] or 0}")
    return Size(found["dim"], factor, offset) if factor else None
