"""Affine sizes and multiples at run time: what is accepted, and what is told when it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import Loaded, LoadPackage, sample_manifest

from aotbuild.runtime.dims import Affine, Dim, Size
from aotbuild.runtime.manifest import Input, Manifest


def manifest(*shapes: list[Size], conditions: list[str] | None = None, **dims: Dim) -> Manifest:
    """A model of inputs ``a``, ``b`` and so on with these shapes."""
    inputs = [
        Input(name, "float32", shape, list(range(len(shape))))
        for name, shape in zip("abcdef", shapes, strict=False)
    ]
    return sample_manifest(inputs=inputs, dims=dims, declared=dims, conditions=conditions or [])


@pytest.fixture(params=["straight-line code", "slow path"])
def load(request: pytest.FixtureRequest, load_package: LoadPackage) -> Callable[..., Loaded]:
    """Loads a model whose tensors come to it as they are, or have to be copied first."""

    def load(*shapes: list[Size], **more: Any) -> Loaded:
        loaded = load_package(manifest(*shapes, **more))
        if request.param == "slow path":
            cls = type(loaded.net)
            call = cls.__call__
            cls.__call__ = lambda net, *tensors: call(net, *map(torch.nn.Parameter, tensors))
        return loaded

    return load


Load = Callable[..., Loaded]


def accepts(loaded: Loaded, *shapes: tuple[int, ...]) -> bool:
    loaded.received = []
    try:
        loaded.net(*(torch.zeros(shape) for shape in shapes))
    except ValueError:
        assert loaded.received == []
        return False
    assert [tuple(tensor.shape) for tensor in loaded.received] == list(shapes)
    return True


def message(loaded: Loaded, *shapes: tuple[int, ...]) -> str:
    with pytest.raises(ValueError, match="net") as caught:
        loaded.net(*(torch.zeros(shape) for shape in shapes))
    return str(caught.value)


def accepted_sizes(loaded: Loaded, last: int) -> list[int]:
    return [size for size in range(last + 1) if accepts(loaded, (size,))]


SIZES: list[tuple[Size, Dim, list[int]]] = [
    (Affine("n", 2, 0), Dim(1, 4), [2, 4, 6, 8]),
    (Affine("n", 2, 1), Dim(1, 4), [3, 5, 7, 9]),
    (Affine("n", 3, -2), Dim(1, 3), [1, 4, 7]),
    (Affine("n", 1, 1), Dim(0, 3), [1, 2, 3, 4]),
    (Affine("n", 1, -1), Dim(1, 4), [0, 1, 2, 3]),
    (Affine("n", 2, 1), Dim(0, None), list(range(1, 31, 2))),
    ("n", Dim(4, 12, 4), [4, 8, 12]),
    ("n", Dim(0, 8, 4), [0, 4, 8]),
    ("n", Dim(7, None, 7), [7, 14, 21, 28]),
    (Affine("n", 2, 1), Dim(3, 9, 3), [7, 13, 19]),
    (Affine("n", 1, -1), Dim(4, 12, 4), [3, 7, 11]),
]


@pytest.mark.parametrize(("size", "dim", "fitting"), SIZES, ids=lambda value: str(value)[:24])
def test_exactly_the_sizes_that_fit_are_accepted(
    load: Load, size: Size, dim: Dim, fitting: list[int]
) -> None:
    assert accepted_sizes(load([size], n=dim), 30) == fitting


@pytest.mark.parametrize("plain_first", [True, False])
def test_a_size_and_one_derived_from_it_go_together(load: Load, *, plain_first: bool) -> None:
    shapes: list[list[Size]] = [["n"], [Affine("n", 2, 1)]]
    step = 1 if plain_first else -1
    loaded = load(*shapes[::step], n=Dim(1, 8))
    fitting = [
        (plain, derived)
        for plain in range(12)
        for derived in range(20)
        if accepts(loaded, *[(plain,), (derived,)][::step])
    ]
    assert fitting == [(n, 2 * n + 1) for n in range(1, 9)]


def test_two_derived_sizes_tell_one_dimension(load: Load) -> None:
    loaded = load([Affine("n", 2, 1)], [Affine("n", 3, -1)], n=Dim(2, 8))
    fitting = [(a, b) for a in range(20) for b in range(25) if accepts(loaded, (a,), (b,))]
    assert fitting == [(2 * n + 1, 3 * n - 1) for n in range(2, 9)]


def test_a_derived_size_in_one_shape_with_its_dimension(load: Load) -> None:
    loaded = load([Affine("n", 1, 1), "n"], n=Dim(1, 8))
    assert [n for n in range(12) if accepts(loaded, (n + 1, n))] == list(range(1, 9))
    assert not accepts(loaded, (4, 4))


@pytest.mark.parametrize(
    ("shapes", "dim", "sizes", "told"),
    [
        (
            [[Affine("n", 2, 1)]],
            Dim(1, 4),
            [(4,)],
            "'a' has shape (4,), expected (2*n+1,): dimension 0 is 4, which is 2*n+1 for no n",
        ),
        (
            [[Affine("n", 2, 1)]],
            Dim(1, 4),
            [(11,)],
            "has shape (11,), expected (2*n+1,): n is 5, the compiled model takes 1 to 4",
        ),
        (
            [[Affine("n", 2, 1)]],
            Dim(1, None),
            [(1,)],
            "n is 0, the compiled model takes 1 or more",
        ),
        (
            [["n"]],
            Dim(8, 64, 8),
            [(12,)],
            "has shape (12,), expected (n,): n is 12, the compiled model takes 8 to 64 in",
        ),
        (
            [["n"]],
            Dim(8, 64, 8),
            [(72,)],
            "n is 72, the compiled model takes 8 to 64 in multiples of 8",
        ),
        (
            [["n"], [Affine("n", 1, -1)]],
            Dim(1, 64),
            [(5,), (5,)],
            "argument 'b' has shape (5,), expected (n-1,): n is 6, but 5 in 'a'",
        ),
    ],
)
def test_a_size_that_does_not_fit_is_told_with_what_would(
    load: Load, shapes: list[list[Size]], dim: Dim, sizes: list[tuple[int, ...]], told: str
) -> None:
    assert told in message(load(*shapes, n=dim), *sizes)


def test_a_condition_is_checked_where_the_dimension_is_only_derived(load: Load) -> None:
    loaded = load([Affine("n", 2, 1)], n=Dim(1, 20), conditions=["(n % 3) == 0"])
    assert accepted_sizes(loaded, 41) == [2 * n + 1 for n in range(3, 21, 3)]
    assert "which needs (n % 3) == 0" in message(loaded, (5,))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (Affine("n", 1, 1), "n+1"),
        (Affine("n", 2, 0), "2*n"),
        (Affine("n", 2, -3), "2*n-3"),
    ],
)
def test_a_derived_size_is_told_as_it_is_declared(size: Affine, text: str) -> None:
    assert str(size) == text
