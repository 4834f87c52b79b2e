"""Buffers as arrays, and what a user without numpy is told of a value that is no array."""

from __future__ import annotations

import array
import importlib.util
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from aotbuild.runtime import buffers
from aotbuild.runtime.arrays import library_of
from aotbuild.runtime.buffers import conversion
from aotbuild.runtime.machine import DLPACK_DTYPES

NO_NUMPY: list[tuple[Any, str, int, str]] = [
    ([1, 2.5], "float32", 1, 'Convert it: array.array("f", x)'),
    ((True, 3), "int64", 1, 'Convert it: array.array("q", x)'),
    (array.array("d", [1.0]), "float32", 1, 'Convert it: array.array("f", list(x))'),
    (b"ab", "float64", 1, 'Convert it: array.array("d", list(x))'),
    (
        [[1.0], [2.0]],
        "float32",
        2,
        'Install numpy, and convert it: numpy.asarray(x, dtype="float32")',
    ),
    ([1.0], "bfloat16", 1, 'Install numpy, and convert it: numpy.asarray(x, dtype="bfloat16")'),
    (2.0, "float32", 1, 'Install numpy, and convert it: numpy.asarray(x, dtype="float32")'),
    ([[1.0], [2.0, 3.0]], "float32", 2, "No array can be made of it"),
    ([[1.0], 2.0], "float32", 2, "No array can be made of it"),
    (["1"], "float32", 1, "No array can be made of it"),
    ("12", "float32", 1, "No array can be made of it"),
    ({1.0}, "float32", 1, "No array can be made of it"),
    (object(), "float32", 1, "No array can be made of it"),
]


@pytest.mark.parametrize(("value", "dtype", "dims", "told"), NO_NUMPY)
def test_a_conversion_without_numpy(
    value: Any, dtype: str, dims: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert conversion("x", dtype, dims, value) == told
    if "array.array" in told:  # what it proposes works
        way = told.partition(": ")[2]
        made = eval(way, {"array": array, "x": value})  # noqa: S307
        assert memoryview(made).shape == (len(value),)


def test_numpy_is_proposed_where_it_is_installed() -> None:
    assert conversion("x", "float32", 1, [1.0]) == 'Convert it: numpy.asarray(x, dtype="float32")'
    assert conversion("x", "float32", 1, "1") == "No array can be made of it"


NAMES = {place: name for name, place in DLPACK_DTYPES.items()}


class View(np.ndarray[Any, Any]):
    """In place of the engine's arrays: its dtype is a name."""

    @property
    def dtype(self) -> Any:
        return np.asarray(self).dtype.name


def view(
    memory: Any, dtype: tuple[int, int], shape: Any, strides: tuple[int, ...], offset: int
) -> View:
    size = dtype[1] // 8
    places = tuple(stride * size for stride in strides)
    made = np.ndarray(shape, NAMES[dtype], np.frombuffer(memory, "uint8"), offset, places)
    return made.view(View)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "engine_module", lambda: SimpleNamespace(view=view, Array=View))


SHAPES = [(4,), (4, 3), (2, 3, 4), (3, 1, 2, 2), (0, 3), (3, 0)]


def arrays(shape: tuple[int, ...], dtype: str) -> list[Any]:
    """Arrays with gaps, in several orders."""
    generator = np.random.default_rng(0)
    wide = generator.integers(0, 2, (*shape[:-1], 2 * shape[-1])).astype(dtype)
    return [wide[..., ::2], np.asfortranarray(wide[..., ::2]), np.flip(wide)[..., ::2]]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool", "complex128"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_arrays_are_joined_and_split_as_numpy_does(shape: tuple[int, ...], dtype: str) -> None:
    given = arrays(shape, dtype)
    views = [each.view(View) for each in given]
    assert np.array_equal(buffers.stack(views), np.stack(given))
    for axis in range(len(shape)):
        joined = buffers.concat(views, axis)
        assert np.array_equal(joined, np.concatenate(given, axis))
        rows = [shape[axis], 0, 2 * shape[axis]]
        parts = buffers.split(joined, axis, rows)
        expected = np.split(np.asarray(joined), [rows[0], rows[0]], axis)
        for part, right in zip(parts, expected, strict=True):
            assert np.array_equal(part, right)
            assert not np.shares_memory(part, joined)


@pytest.mark.usefixtures("engine")
def test_a_step_is_in_the_memory_of_the_sequence() -> None:
    sequence = np.arange(12.0).reshape(3, 2, 2)
    for step in range(3):
        buffers.step_of(sequence.view(View), step)[...] = step
    assert np.array_equal(sequence[:, 0, 1], [0, 1, 2])
    buffers.flat(sequence.view(View))[:8] = array.array("d", [7.0]).tobytes()
    assert sequence[0, 0, 0] == 7


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((2.5, "float16"), (65504, "float16"), (1 / 3, "float32"), (1e300, "float64")),
        *((True, "bool"), (-3, "int8"), (2**64 - 1, "uint64"), (float("inf"), "float16")),
    ],
)
def test_numbers_are_those_of_numpy(value: float, dtype: str) -> None:
    made = buffers.asarray(value, dtype)
    assert (made.shape, made.dtype) == ((), dtype)
    assert made == np.asarray(value, dtype)


@pytest.mark.parametrize("value", [1.5, -2.0, 1 / 3, 257 / 256, 259 / 256, 3e38, np.inf, np.nan])
def test_numbers_in_bfloat16_are_those_of_torch(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buffers, "over", lambda memory, dtype, shape: (memory, dtype, shape))
    memory, *told = buffers.asarray(value, "bfloat16")
    assert told == ["bfloat16", ()]
    expected = torch.tensor(value, dtype=torch.bfloat16).view(torch.int16).item()
    assert int.from_bytes(memory, "little", signed=True) == expected


def test_an_array_of_the_engine_of_another_package_is_a_buffer() -> None:
    names = {"__module__": "_engine", "__dlpack__": bytearray.copy}
    assert library_of([1, type("Array", (bytearray,), names)(8)]) is buffers
