"""The directory of precompiled headers that compiles of one build share.

The plan makes it where there are several. It is outside of the specifications, so that one more
model compiles no other one again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HEADERS = Path("headers")

_MANY = "precompile"
"""File in it, before the name of a target: there are so many compiles for it that precompiled
headers pay.
"""

PRECOMPILING_PAYS = 3
"""From how many compiles on it pays to precompile headers."""


def make_header_directory(build: Path, compiles: Mapping[str, int]) -> None:
    """Make it if compiles have something to share.

    Args:
        build: Directory of the build.
        compiles: How many there are for each target.
    """
    if sum(compiles.values()) > 1:
        (build / HEADERS).mkdir(exist_ok=True)
    for target, count in compiles.items():
        if count >= PRECOMPILING_PAYS:
            (build / many_compiles(target)).touch()


def many_compiles(target: str) -> Path:
    """The file that is there where precompiled headers pay for a target."""
    return HEADERS / f"{_MANY}-{target}"
