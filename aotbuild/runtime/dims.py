"""Dynamic dimensions, and the sizes that follow from them: ``batch`` from 1 to 64, ``2*batch+1``.

All three worlds know ranges and sizes by these classes: the declaration parses them, the build
narrows them, and the runtime checks calls by them. They are here because the runtime is copied into
wheels and cannot import aotbuild. It is the one module of the runtime that the declaration imports:
it needs little, and the package around it loads its other modules lazily.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from .records import dataclass


@dataclass(frozen=True)
class Dim:
    """The range of a dynamic dimension: ``size in dim`` tells whether it contains a size."""

    min: int
    max: int | None
    """Largest size, or None when there is no upper limit."""
    multiple_of: int = 1
    """Every size is a multiple of this number."""

    def __contains__(self, size: int) -> bool:
        above = self.max is not None and size > self.max
        return size >= self.min and not above and size % self.multiple_of == 0

    def __str__(self) -> str:
        ends = f"{self.min} or more" if self.max is None else f"{self.min} to {self.max}"
        return ends if self.multiple_of == 1 else f"{ends} in multiples of {self.multiple_of}"

    def intersection(self, other: Dim) -> Dim:
        """The sizes that two ranges of one dimension have in common."""
        ends = [dim.max for dim in (self, other) if dim.max is not None]
        return Dim(max(self.min, other.min), min(ends, default=None), self.multiple_of)

    def multiple_from(self, size: int) -> int:
        """The smallest multiple of ``multiple_of`` that is not below ``size``."""
        return -(-size // self.multiple_of) * self.multiple_of


@dataclass(frozen=True)
class Affine:
    """A size that follows from a dimension: ``factor * dim + offset``."""

    dim: str
    factor: int = 1
    offset: int = 0

    @classmethod
    def of(cls, size: str | Affine) -> Affine:
        """A dynamic size, where the name of a dimension stands for ``1 * dim + 0``."""
        return cls(size) if isinstance(size, str) else size

    @property
    def is_dim(self) -> bool:
        """Whether the size is the dimension itself."""
        return (self.factor, self.offset) == (1, 0)

    def at(self, size: int) -> int:
        """The size when ``dim`` has this one."""
        return self.factor * size + self.offset

    def solve(self, size: int) -> int | None:
        """The dimension that gives this size, or None when none does."""
        solution, rest = divmod(size - self.offset, self.factor)
        return None if rest else solution

    def __str__(self) -> str:
        factor = "" if self.factor == 1 else f"{self.factor}*"
        return f"{factor}{self.dim}" + (f"{self.offset:+d}" if self.offset else "")


Size: TypeAlias = "int | str | Affine"
"""A number, the name of a dimension, or a size that follows from one."""


def concrete(shape: Sequence[Size], sizes: Mapping[str, int]) -> list[int]:
    """A shape at these sizes of the dimensions."""
    return [
        size if isinstance(size, int) else Affine.of(size).at(sizes[Affine.of(size).dim])
        for size in shape
    ]
