"""Operators of torch that fix a size while they are traced, where aotbuild keeps it free."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim

from aotbuild.steps.export.symbolic_sizes import symbolic_sizes
from aotbuild.steps.sizes.proofs import proving

LAYERS = [
    nn.MaxPool1d(2),
    nn.MaxPool1d(3, stride=2, padding=1, ceil_mode=True),
    nn.MaxPool1d(2, dilation=2, return_indices=True),
]


def traced(layer: nn.Module) -> Any:
    dims = {2: Dim("length", min=8, max=64)}
    with proving():
        return torch.export.export(
            layer, (torch.rand(2, 3, 13),), dynamic_shapes=(dims,), strict=False
        )


@pytest.mark.parametrize("layer", LAYERS)
def test_pooling_is_traced_for_any_length(layer: nn.Module) -> None:
    with symbolic_sizes():
        program = traced(layer).module()
    for length in (8, 9, 10, 64):
        x = torch.randn(2, 3, length)
        torch.testing.assert_close(program(x), layer(x))


def test_torch_itself_fixes_the_length() -> None:
    with pytest.raises(Exception, match="specialized"):
        traced(LAYERS[0])  # when torch takes it, symbolic_sizes() can go


def test_nothing_is_changed_afterwards() -> None:
    before: Any = torch.max_pool1d
    with symbolic_sizes():
        assert torch.max_pool1d is not before
    assert torch.max_pool1d is before
