"""Ranges of dimensions, and sizes that follow from them."""

from __future__ import annotations

import pytest

from aotbuild.config.schema import DeclaredDim
from aotbuild.config.sizes import parse_size
from aotbuild.runtime.dims import Affine, Dim


@pytest.mark.parametrize(
    ("dim", "inside", "outside"),
    [
        (Dim(1, 4), [1, 2, 4], [0, 5, -1]),
        (Dim(2, None), [2, 10**9], [1, 0]),
        (Dim(8, 24, 8), [8, 16, 24], [0, 9, 12, 25, 32]),
        (Dim(0, None, 3), [0, 3, 300], [1, 2, -3]),
    ],
    ids=str,
)
def test_a_range_contains_its_ends_and_its_multiples_only(
    dim: Dim, inside: list[int], outside: list[int]
) -> None:
    assert all(size in dim for size in inside)
    assert not any(size in dim for size in outside)


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (Dim(1, 64), "1 to 64"),
        (Dim(0, None), "0 or more"),
        (Dim(8, 64, 8), "8 to 64 in multiples of 8"),
        (Dim(8, None, 8), "8 or more in multiples of 8"),
        (DeclaredDim(min=2, max=9, example=3), "2 to 9"),
    ],
)
def test_a_range_reads_the_same_wherever_it_is_shown(dim: Dim, text: str) -> None:
    assert str(dim) == text


def test_what_is_declared_of_a_dimension_has_a_range() -> None:
    assert DeclaredDim(min=4, max=8, multiple_of=4, example=8).range == Dim(4, 8, 4)


@pytest.mark.parametrize(("size", "found"), [(0, 0), (1, 8), (8, 8), (9, 16)])
def test_the_next_multiple_is_not_below_the_size(size: int, found: int) -> None:
    assert Dim(0, None, 8).multiple_from(size) == found


@pytest.mark.parametrize("text", ["batch", "2*batch", "batch+1", "3*batch-2"])
def test_a_size_reads_as_it_is_written(text: str) -> None:
    size = parse_size(text)
    assert size is not None
    assert str(size) == text
    assert Affine.of(text if size.is_dim else size) == size


@pytest.mark.parametrize("size", [Affine("n"), Affine("n", 2), Affine("n", 3, -2)], ids=str)
def test_a_size_tells_the_dimension_that_it_follows_from(size: Affine) -> None:
    reached = {size.at(n): n for n in range(1, 9)}
    first, last = min(reached), max(reached)
    assert {n: size.solve(n) for n in range(first, last + 1)} == {
        n: reached.get(n) for n in range(first, last + 1)
    }
