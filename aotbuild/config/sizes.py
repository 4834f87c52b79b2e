"""How sizes are written in shapes: a number, a dimension, or what follows from it (``2*seq+1``)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aotbuild.config.rules import NAME, NO_KEYWORD, Pattern
from aotbuild.runtime.dims import Affine

_AFFINE = (
    rf"{NO_KEYWORD}(?!.*\*.*\*)\s*"  # one factor: before the name or behind it
    rf"(?:(?P<before>[1-9][0-9]*)\s*\*\s*)?(?P<dim>{NAME})(?:\s*\*\s*(?P<behind>[1-9][0-9]*))?"
    r"(?:\s*(?P<sign>[+-])\s*(?P<offset>[0-9]+))?\s*"
)

SIZE = Pattern(
    what='"{value}" is not a size',
    why="a size is a dimension times a number, plus or minus a number",
    fix='write a number, the name of a dimension ("batch"), or a size derived from one: '
    '"2*batch", "seq+1" (declare the smaller one of two)',
    regex=_AFFINE,
)
"""What a text in a shape looks like."""


def parse_size(text: str) -> Affine | None:
    """Read a size such as ``batch``, ``2*batch`` or ``seq + 1``; None for anything else."""
    match = re.fullmatch(_AFFINE, text)
    if match is None or not SIZE.holds(text):
        return None
    factor = int(match["before"] or match["behind"] or 1)
    offset = int(f"{match['sign'] or '+'}{match['offset'] or 0}")
    return Affine(match["dim"], factor, offset)


def bound_at(bound: float | str | None, sizes: Mapping[str, int]) -> float | None:
    """A bound of values, which may be a size, at these sizes of the dimensions."""
    if not isinstance(bound, str):
        return bound
    size = parse_size(bound)
    assert size is not None, "the parser let a text pass that is no size"  # noqa: S101
    return size.at(sizes[size.dim])
