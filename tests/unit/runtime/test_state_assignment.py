"""What is assigned to a buffer of a state, with and without a library of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from aotbuild.runtime import numpy_arrays, torch_arrays
from aotbuild.runtime.state_assignment import Target

LIBRARIES = {"none": None, "numpy": numpy_arrays, "torch": torch_arrays}
DTYPES = ["bool", "uint8", "int16", "int64", "float16", "bfloat16", "float32", "complex64"]


def assigned(value: Any, dtype: str = "float32", library: Any = None) -> torch.Tensor:
    """The buffer of 2 by 3, into which the value was written."""
    memory = bytearray(6 * getattr(torch, dtype).itemsize)
    Target("s", dtype, (2, 3), memoryview(memory)).assign(value, library)
    return torch.frombuffer(memory, dtype=getattr(torch, dtype)).reshape(2, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_numbers_lists_and_buffers_are_written(library: Any, dtype: str) -> None:
    kind = getattr(torch, dtype)
    values = torch.tensor([[0, 1, 3], [4, 1, 0]]).to(kind)
    lists = values.tolist()
    assert torch.equal(assigned(lists, dtype, library), values)
    assert torch.equal(assigned(lists[1][1], dtype, library), torch.ones(2, 3, dtype=kind))
    if dtype != "bfloat16":  # numpy has it by another package
        assert torch.equal(assigned(values.numpy(), dtype, library), values)
        rows = values.T.contiguous().T.numpy().data  # another order in memory
        assert torch.equal(assigned(rows, dtype, library), values)


def test_floats_are_rounded_as_torch_rounds_them() -> None:
    numbers = [[1 + 2.0**-9, 1 + 3 * 2.0**-8, -1e-40], [3.14159, float("inf"), float("nan")]]
    for dtype in ("float16", "bfloat16", "float32"):
        expected = torch.tensor(numbers, dtype=getattr(torch, dtype))
        assert torch.equal(assigned(numbers, dtype).view(torch.uint8), expected.view(torch.uint8))


def test_libraries_convert_and_repeat() -> None:
    expected = torch.tensor([[0.0, 1.0, 2.0]] * 2)
    for library in (numpy_arrays, torch_arrays):
        for value in ([0, 1, 2], np.arange(3), np.arange(3.0).data):
            assert torch.equal(assigned(value, "float32", library), expected)
    for tensor in (torch.arange(3), expected.clone().requires_grad_()):
        assert torch.equal(assigned(tensor, "float32", torch_arrays), expected)


REFUSED = {
    "none": (None, "float32", "s takes a number, or an array or lists of float32 with shape"),
    "nones": ([[None] * 3] * 2, "float32", "s takes a number, or .*, got lists"),
    "words": ("3", "float32", "s takes a number, .* got str"),
    "large": (1e300, "float32", "s has dtype float32, which holds .* got 1e[+]300"),
    "one large": ([[0, 1, 2], [3, 4, 1e300]], "float32", "s has dtype float32, which holds"),
    "integer": (300, "uint8", "s has dtype uint8, which holds 0 to 255, got 300"),
    "fraction": (0.5, "int64", "s has dtype int64, got 0.5"),
    "complex": (1j, "float32", "s has dtype float32, got 1j"),
    "no bool": (2, "bool", "s has dtype bool, got 2"),
    "large array": (np.full((2, 3), 1e300), "float32", "s has dtype float32"),
    "complex array": (np.zeros((2, 3), "complex64"), "float32", "dtype float32, got complex64"),
    "fractions": (np.zeros((2, 3)), "int64", "s has dtype int64, got float64"),
    "shape": (np.zeros((3, 2), "float32"), "float32", r"has shape \(2, 3\), got \(3, 2\)"),
    "lists": ([[1, 2], [3, 4]], "float32", r"s has shape \(2, 3\), got .*\(2, 2\)"),
    "uneven": ([[1, 2, 3], [4]], "float32", "s takes a number"),
}


@pytest.mark.parametrize(("value", "dtype", "told"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_anything_else_is_told(library: Any, value: Any, dtype: str, told: str) -> None:
    with pytest.raises((TypeError, ValueError), match=told):
        assigned(value, dtype, library)


def test_tensors_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match=r"s has shape \(2, 3\), got \(4,\)"):
        assigned(torch.zeros(4), "float32", torch_arrays)
    with pytest.raises(TypeError, match="s has dtype float32, got complex64"):
        assigned(torch.zeros(2, 3, dtype=torch.complex64), "float32", torch_arrays)
