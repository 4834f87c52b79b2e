"""Results that may be taken for what they were computed from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from graphs import calls, traced

from aotbuild.passes.pipeline import apply

X = torch.arange(12.0).reshape(3, 4)


class Called(torch.nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("ones", torch.ones(4))

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x, self.ones)


COPIED: dict[str, Any] = {
    "times one": lambda x, _: x * 1,
    "one times": lambda x, _: 1.0 * x,
    "plus nothing": lambda x, _: x + 0,
    "nothing plus": lambda x, _: 0 + x,
    "less nothing": lambda x, _: x - 0.0,
    "over one": lambda x, _: x / 1,
    "times ones": lambda x, _: x * torch.ones(4),
    "times a buffer": lambda x, ones: x * ones,
    "less zeros": lambda x, _: x - torch.zeros_like(x),
    "plus what is computed of ones": lambda x, ones: x + (ones - 1),
    "a view": lambda x, _: (x * 1).t(),
    "twice": lambda x, _: (x * 1 + 0).view(-1),
}
LEFT: dict[str, Any] = {
    "in place": lambda x, _: x.sin().mul_(1),
    "times two": lambda x, _: x * 2,
    "a product": lambda x, _: x * x.sum(),
    "no result": lambda x, _: (x * 1).sin(),
    "the input": lambda x, _: x,
    "a copy": lambda x, _: (x * 1).clone(),
}


@pytest.mark.parametrize("function", COPIED.values(), ids=COPIED)
def test_a_result_is_a_tensor_of_its_own(function: Any) -> None:
    module = traced(Called(function), X)
    apply(module)
    assert calls(module)["aten.clone.default"] == 1
    torch.testing.assert_close(module(X), function(X, torch.ones(4)), rtol=0, atol=0)


@pytest.mark.parametrize("function", LEFT.values(), ids=LEFT)
def test_other_results_are_left_alone(function: Any) -> None:
    module = traced(Called(function), X)
    before = calls(module)
    apply(module)
    assert calls(module) == before
