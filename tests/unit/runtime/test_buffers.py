"""What a user without numpy is told of a value that is no array."""

from __future__ import annotations

import array
import importlib.util
from typing import Any

import pytest

from aotbuild.runtime.buffers import conversion

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
