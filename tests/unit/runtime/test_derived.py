"""Constants that are computed from parameters: computed anew, and turned back into these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from aotbuild.runtime import numpy_arrays, torch_arrays
from aotbuild.runtime.array_library import ArrayLibrary, dtype_of
from aotbuild.runtime.derived import compute, recover, renamed, uses

WEIGHT = {"tensor": "fc.weight"}


@pytest.fixture(params=[torch_arrays, numpy_arrays], ids=["torch", "numpy"])
def arrays(request: pytest.FixtureRequest) -> ArrayLibrary:
    """What computes."""
    library: ArrayLibrary = request.param
    return library


def given(arrays: ArrayLibrary, tensors: Mapping[str, torch.Tensor]) -> Callable[[str], Any]:
    """Tensors by key, as arrays of a library."""
    numpy = arrays is numpy_arrays
    return {key: t.numpy() if numpy else t for key, t in tensors.items()}.__getitem__


def op(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": f"aten.{name}", "args": list(args)} | ({"kwargs": kwargs} if kwargs else {})


PACKED = op(
    "permute.default",
    op("reshape.default", op("constant_pad_nd.default", WEIGHT, [0, 0, 0, 11]), [2, 8, 3]),
    [0, 2, 1],
)
"""5 rows of 3, filled up to 16 and in panels of 8."""

FOLDED = op("mul.Tensor", WEIGHT, op("rsqrt.default", op("add.Tensor", {"tensor": "var"}, 1e-5)))


def test_a_recipe_tells_what_it_uses() -> None:
    assert uses(PACKED) == {"fc.weight"}
    assert uses(FOLDED) == {"fc.weight", "var"}
    assert uses(op("cat.default", [WEIGHT, {"tensor": "other"}], 1)) == {"fc.weight", "other"}
    assert uses(renamed(FOLDED, {"fc.weight": "a", "var": "b"})) == {"a", "b"}


def test_a_constant_is_computed(arrays: ArrayLibrary) -> None:
    weight, var = torch.randn(5, 3), torch.rand(3)
    values = given(arrays, {"fc.weight": weight, "var": var})
    folded = torch.as_tensor(compute(FOLDED, values, arrays))
    torch.testing.assert_close(folded, weight * (var + 1e-5).rsqrt())
    packed = torch.as_tensor(compute(PACKED, values, arrays))
    assert packed.shape == (2, 3, 8)
    assert torch.equal(packed[0, :, 4], weight[4])
    half = op("to.dtype", WEIGHT, {"dtype": "float16"})
    assert dtype_of(compute(half, values, arrays)) == "float16"
    strided = op("clone.default", WEIGHT, memory_format={"memory_format": "contiguous_format"})
    assert torch.equal(torch.as_tensor(compute(strided, values, arrays)), weight)


def test_a_parameter_whose_elements_were_moved_is_recovered(arrays: ArrayLibrary) -> None:
    weight = torch.randn(5, 3)
    packed = compute(PACKED, given(arrays, {"fc.weight": weight}), arrays)
    found = recover(PACKED, "fc.weight", {"fc.weight": [5, 3]}, packed, arrays)
    assert torch.equal(torch.as_tensor(found), weight)


def test_each_of_several_that_were_joined_is_recovered(arrays: ArrayLibrary) -> None:
    recipe = op("cat.default", [op("t.default", WEIGHT), {"tensor": "other"}], 1)
    values = {"fc.weight": torch.randn(5, 3), "other": torch.randn(3, 2)}
    shapes = {name: list(value.shape) for name, value in values.items()}
    joined = compute(recipe, given(arrays, values), arrays)
    for name, value in values.items():
        found = recover(recipe, name, shapes, joined, arrays)
        assert torch.equal(torch.as_tensor(found), value)


@pytest.mark.parametrize(
    "recipe",
    [
        FOLDED,
        op("slice.Tensor", WEIGHT, 0, 0, 4),
        op("constant_pad_nd.default", WEIGHT, [0, 1], 1.0),
        op("sum.dim_IntList", WEIGHT, [0]),
    ],
)
def test_what_was_computed_with_or_left_out_is_not(
    recipe: dict[str, Any], arrays: ArrayLibrary
) -> None:
    values = {"fc.weight": torch.randn(5, 3), "var": torch.rand(3)}
    shapes = {name: list(value.shape) for name, value in values.items()}
    constant = compute(recipe, given(arrays, values), arrays)
    assert recover(recipe, "fc.weight", shapes, constant, arrays) is None
