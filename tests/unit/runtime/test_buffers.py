"""Buffers and their elements, and what a user without numpy is told of a value that is no array."""

from __future__ import annotations

import array
import ctypes
import sys
from typing import Any

import numpy as np
import pytest

from aotbuild.runtime import buffers
from aotbuild.runtime.buffers import Buffer, as_buffer, conversion

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
    monkeypatch.setattr(buffers, "has_numpy", lambda: False)
    assert conversion("x", dtype, dims, value) == told
    if "array.array" in told:  # what it proposes works
        way = told.partition(": ")[2]
        made = eval(way, {"array": array, "x": value})  # noqa: S307
        assert memoryview(made).shape == (len(value),)


def test_numpy_is_proposed_where_it_is_installed() -> None:
    assert conversion("x", "float32", 1, [1.0]) == 'Convert it: numpy.asarray(x, dtype="float32")'
    assert conversion("x", "float32", 1, "1") == "No array can be made of it"


OTHER: Any = ">" if sys.byteorder == "little" else "<"


@pytest.mark.parametrize("code", ["i2", "u4", "i8", "f2", "f4", "f8", "c8", "c16", "i1", "?"])
def test_elements_in_the_other_byte_order_are_read(code: str) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(code)
    for given in (values, values[:, ::2], np.asfortranarray(values), values[:0]):
        buffer = Buffer(given.astype(given.dtype.newbyteorder(OTHER)).data)
        assert buffer.dtype == values.dtype.name
        assert buffer.native() == given.tobytes()


def test_arrays_of_ctypes_and_images_in_the_other_byte_order_are_read() -> None:
    order = "__ctype_be__" if sys.byteorder == "little" else "__ctype_le__"
    other = getattr(ctypes.c_float, order)
    buffer = Buffer(as_buffer(((other * 2) * 2)((1, 2), (3, 4))))
    assert (buffer.shape, buffer.dtype) == ((2, 2), "float32")
    assert buffer.native() == array.array("f", [1, 2, 3, 4]).tobytes()

    class Image:
        __array_interface__ = {  # noqa: RUF012
            "shape": (1, 2),
            "typestr": f"{OTHER}u2",
            "data": np.array([1, 515], f"{OTHER}u2").tobytes(),
            "version": 3,
        }

    assert as_buffer(Image()).tolist() == [[1, 515]]
