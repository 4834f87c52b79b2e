"""Constants that are computed from parameters: computed anew, and turned back into these."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from aotbuild.runtime.derived import compute, recover, renamed, uses

WEIGHT = {"tensor": "fc.weight"}


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


def test_a_constant_is_computed() -> None:
    weight, var = torch.randn(5, 3), torch.rand(3)
    values = {"fc.weight": weight, "var": var}
    torch.testing.assert_close(compute(FOLDED, values.__getitem__), weight * (var + 1e-5).rsqrt())
    packed = compute(PACKED, values.__getitem__)
    assert packed.shape == (2, 3, 8)
    assert torch.equal(packed[0, :, 4], weight[4])
    half = op("to.dtype", WEIGHT, {"dtype": "bfloat16"})
    assert compute(half, values.__getitem__).dtype is torch.bfloat16
    strided = op("clone.default", WEIGHT, memory_format={"memory_format": "contiguous_format"})
    assert torch.equal(compute(strided, values.__getitem__), weight)


def test_a_parameter_whose_elements_were_moved_is_recovered() -> None:
    weight = torch.randn(5, 3)
    packed = compute(PACKED, {"fc.weight": weight}.__getitem__)
    found = recover(PACKED, "fc.weight", {"fc.weight": [5, 3]}, packed)
    assert found is not None
    assert torch.equal(found, weight)


def test_each_of_several_that_were_joined_is_recovered() -> None:
    recipe = op("cat.default", [op("t.default", WEIGHT), {"tensor": "other"}], 1)
    values = {"fc.weight": torch.randn(5, 3), "other": torch.randn(3, 2)}
    shapes = {name: list(value.shape) for name, value in values.items()}
    joined = compute(recipe, values.__getitem__)
    for name, value in values.items():
        found = recover(recipe, name, shapes, joined)
        assert found is not None
        assert torch.equal(found, value)


@pytest.mark.parametrize(
    "recipe",
    [
        FOLDED,
        op("slice.Tensor", WEIGHT, 0, 0, 4),
        op("constant_pad_nd.default", WEIGHT, [0, 1], 1.0),
        op("sum.default", WEIGHT),
    ],
)
def test_what_was_computed_with_or_left_out_is_not(recipe: dict[str, Any]) -> None:
    values = {"fc.weight": torch.randn(5, 3), "var": torch.rand(3)}
    shapes = {name: list(value.shape) for name, value in values.items()}
    constant = compute(recipe, values.__getitem__)
    assert recover(recipe, "fc.weight", shapes, constant) is None
