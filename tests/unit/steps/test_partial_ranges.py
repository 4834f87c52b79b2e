"""Which range is proposed where some sizes of a declared one behave in another way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aotbuild.runtime.dims import Dim
from aotbuild.steps.export.partial_ranges import as_toml, partial_range

CASES: list[tuple[Dim, Callable[[int], bool], Dim | None]] = [
    (Dim(4, 64), lambda size: size % 4 > 0, Dim(4, 64, 4)),
    (Dim(1, 63), lambda size: size % 4 > 0, Dim(4, 60, 4)),
    (Dim(2, 20), lambda size: size % 2 > 0, Dim(2, 20, 2)),
    (Dim(1, 20), lambda size: size != 7, Dim(8, 20)),
    (Dim(1, 20), lambda size: size != 15, Dim(1, 14)),
    (Dim(1, None), lambda size: size != 15, Dim(16, None)),
    (Dim(8, 80, 8), lambda size: size % 16 > 0, Dim(16, 80, 16)),
    (Dim(1, 20), lambda size: size % 5 in {1, 2}, None),
    (Dim(1, 20), lambda size: size in {4, 6}, None),
    (Dim(3, 21), lambda size: size % 3 != 1, None),
]


@pytest.mark.parametrize(("dim", "like_the_example", "proposed"), CASES)
def test_a_range_of_sizes_that_behave_alike_is_proposed(
    dim: Dim, like_the_example: Callable[[int], bool], proposed: Dim | None
) -> None:
    end = 4096 if dim.max is None else dim.max
    first = dim.multiple_from(max(dim.min, 2))
    tried = list(range(first, end + 1, dim.multiple_of))
    alike = [size for size in tried if like_the_example(size)]
    found = partial_range(dim, tried, alike)
    assert found == proposed
    if found is not None:  # all of it does one of both
        inside = {like_the_example(size) for size in tried if size in found}
        assert len(inside) == 1


def test_a_range_is_written_as_it_is_declared() -> None:
    assert as_toml("batch", Dim(2, 8)) == "batch = { min = 2, max = 8 }"
    assert as_toml("batch", Dim(4, None, 4)) == "batch = { min = 4, multiple-of = 4 }"
