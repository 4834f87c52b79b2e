"""What torch and numpy make of the values that are given in a state dict."""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from aotbuild.runtime import numpy_arrays, torch_arrays
from aotbuild.runtime.array_library import ArrayLibrary, dtype_of, is_whole
from aotbuild.runtime.chosen_library import array_library
from aotbuild.runtime.errors import StateDictError
from aotbuild.runtime.numpy_dtypes import dtype_named

LIBRARIES = pytest.mark.parametrize("arrays", [torch_arrays, numpy_arrays], ids=["torch", "numpy"])
ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)


class Exchanged:
    """An array of another library, which has DLPack and nothing else."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, **options: Any) -> Any:
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._tensor.__dlpack_device__()


@LIBRARIES
@pytest.mark.parametrize(
    "given",
    [
        ROWS,
        ROWS.astype(">f4"),
        np.asfortranarray(ROWS),
        np.repeat(ROWS, 2, 0)[::2],
        ROWS[::-1].copy()[::-1],
        np.frombuffer(ROWS.tobytes(), np.float32).reshape(3, 4),
        ROWS.data,
        ROWS.astype(">f4").data,
        memoryview(array.array("f", range(12))).cast("B").cast("f", (3, 4)),
        Exchanged(torch.arange(12.0).reshape(3, 4)),
    ],
    ids=[
        *(
            "plain",
            "swapped",
            "columns",
            "gaps",
            "reversed",
            "readonly",
            "memoryview",
            "swapped-buffer",
            "array",
        ),
        "dlpack",
    ],
)
def test_arrays_and_buffers_are_taken(arrays: ArrayLibrary, given: Any) -> None:
    taken = arrays.taken(given)
    assert type(taken) is (torch.Tensor if arrays is torch_arrays else np.ndarray)
    assert dtype_of(taken) == "float32"
    assert taken.tolist() == ROWS.tolist()


@LIBRARIES
def test_numbers_of_numpy_and_empty_buffers_are_arrays(arrays: ArrayLibrary) -> None:
    assert arrays.taken(np.float32(2)).tolist() == 2
    assert list(arrays.taken(array.array("d")).shape) == [0]
    assert dtype_of(arrays.taken(np.array([True]))) == "bool"


@LIBRARIES
@pytest.mark.parametrize(
    "given", [None, 1.0, [1.0], "words", {}, np.ma.masked_less(ROWS, 3)], ids=lambda v: str(type(v))
)
def test_anything_else_is_not(arrays: ArrayLibrary, given: Any) -> None:
    assert arrays.taken(given) is None


def test_memory_is_shared_where_it_can_be() -> None:
    given = ROWS.copy()
    assert torch_arrays.taken(given).data_ptr() == given.ctypes.data
    assert numpy_arrays.taken(given) is given
    assert np.shares_memory(numpy_arrays.taken(memoryview(given)), given)
    tensor = torch.ones(3)
    assert torch_arrays.taken(tensor) is tensor


@LIBRARIES
@pytest.mark.parametrize(
    ("values", "own", "wanted", "whole"),
    [
        ([3, 4], "int32", "int64", True),
        ([3.0, 4.0], "float32", "int64", True),
        ([3.5, 4.0], "float32", "int64", False),
        ([float("nan")], "float32", "int64", False),
        ([300], "int64", "uint8", False),
        ([1, 0], "int64", "bool", True),
        ([2, 0], "int64", "bool", False),
        ([3, 4], "int64", "float32", False),
        ([3, 4], "complex64", "int64", False),
    ],
)
def test_counts_may_have_another_dtype(
    arrays: ArrayLibrary, values: list[Any], own: str, wanted: str, *, whole: bool
) -> None:
    with arrays.computing():
        assert is_whole(arrays, arrays.taken(np.array(values, own)), wanted) is whole


def test_torch_is_taken_where_it_is_needed_or_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert array_library("net", standalone=True) is torch_arrays  # which is imported here
    monkeypatch.setitem(sys.modules, "torch", None)
    assert array_library("net", standalone=True) is numpy_arrays
    assert array_library("net", standalone=False) is torch_arrays
    monkeypatch.setattr("importlib.util.find_spec", {"torch": True}.get)
    assert array_library("net", standalone=True) is torch_arrays
    monkeypatch.setattr("importlib.util.find_spec", {}.get)
    with pytest.raises(StateDictError, match=r"net: .* is not installed: pip install numpy"):
        array_library("net", standalone=True)


def test_ml_dtypes_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    calls: list[Callable[[], Any]] = [
        lambda: numpy_arrays.cast(ROWS, "bfloat16"),
        lambda: numpy_arrays.zeros([2], "float8_e4m3fn"),
    ]
    for call in calls:
        with (
            pytest.raises(StateDictError, match=r"float.* by ml_dtypes: pip install ml_dtypes"),
            numpy_arrays.computing(),
        ):
            call()


def test_short_floats_are_those_of_torch() -> None:
    pytest.importorskip("ml_dtypes")
    tensor = torch.cat([torch.randn(1000), torch.tensor([1e-45, 3e38, float("inf"), -0.0])])
    own = numpy_arrays.cast(tensor.numpy(), "bfloat16")
    assert own.dtype == dtype_named("bfloat16")
    assert torch.equal(torch_arrays.taken(own), tensor.bfloat16())
    small = tensor[:1000].to(torch.float8_e4m3fn)
    bits = numpy_arrays.cast(tensor[:1000].numpy(), "float8_e4m3fn")
    assert torch.equal(torch_arrays.taken(bits).view(torch.uint8), small.view(torch.uint8))
