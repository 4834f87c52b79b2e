"""Weights are numbers; what of a buffer may be infinite."""

from __future__ import annotations

import pytest
import torch

from aotbuild.errors import WeightsError
from aotbuild.steps.export.finite_weights import check_finite

PATH = "tool.aotbuild.models.net.weights"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_parameter_is_finite(value: float) -> None:
    layer = torch.nn.Linear(3, 3)
    layer.weight.data[1, 2] = value
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), layer)
    with pytest.raises(WeightsError) as caught:
        check_finite(module.named_parameters(), module.named_buffers(), "net.safetensors", PATH)
    assert caught.value.what == "net.safetensors: the parameter 1.weight is not finite"
    assert caught.value.why == "1 of its 9 values are NaN or infinite"
    assert "check-finite = false" in caught.value.fix


def test_a_buffer_may_be_infinite_but_not_nan() -> None:
    mask = torch.full((4, 4), float("-inf")).triu(1)
    others = [("steps", torch.tensor(3)), ("empty", torch.empty(0))]
    check_finite([], [("mask", mask), *others], "net.pt", PATH)
    mask[2, 1] = mask[3, 3] = float("nan")
    with pytest.raises(WeightsError, match="the buffer mask is not finite") as caught:
        check_finite([], [("mask", mask)], "net.pt", PATH)
    assert caught.value.why == "2 of its 16 values are NaN"


def test_many_values_are_checked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aotbuild.steps.export.finite_weights._CHECKED", 8)
    tensor = torch.zeros(7, 5)
    tensor[0, 0] = tensor[6, 4] = float("nan")
    with pytest.raises(WeightsError) as caught:
        check_finite([("weight", tensor)], [], "net.pt", PATH)
    assert caught.value.why.startswith("2 of its 35 values")
