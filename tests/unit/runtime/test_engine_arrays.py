"""Arrays of the engine are joined and split as numpy's are."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aotbuild.runtime import buffers, engine_arrays
from aotbuild.runtime.arrays import library_of
from aotbuild.runtime.machine import DLPACK_DTYPES

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
    monkeypatch.setattr(
        engine_arrays, "engine_module", lambda: SimpleNamespace(view=view, Array=View)
    )


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
    assert np.array_equal(engine_arrays.stack(views), np.stack(given))
    for axis in range(len(shape)):
        joined = engine_arrays.concat(views, axis)
        assert np.array_equal(joined, np.concatenate(given, axis))
        rows = [shape[axis], 0, 2 * shape[axis]]
        parts = engine_arrays.split(joined, axis, rows)
        expected = np.split(np.asarray(joined), [rows[0], rows[0]], axis)
        for part, right in zip(parts, expected, strict=True):
            assert np.array_equal(part, right)
            assert not np.shares_memory(part, joined)


@pytest.mark.usefixtures("engine")
def test_a_step_is_in_the_memory_of_the_sequence() -> None:
    sequence = np.arange(12.0).reshape(3, 2, 2)
    for step in range(3):
        engine_arrays.step_of(sequence.view(View), step)[...] = step
    assert np.array_equal(sequence[:, 0, 1], [0, 1, 2])
    engine_arrays.flat(sequence.view(View))[:8] = array.array("d", [7.0]).tobytes()
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


def test_an_array_of_the_engine_of_another_package_is_a_buffer() -> None:
    names = {"__module__": "_engine", "__dlpack__": bytearray.copy}
    assert library_of([1, type("Array", (bytearray,), names)(8)]) is buffers
