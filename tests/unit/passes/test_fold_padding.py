"""Zeros around an image that become the padding of a convolution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as f

from aotbuild.passes.pipeline import apply

# torch itself, when it decomposes a program
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")


class Padded(nn.Module):
    """Puts something around an image before a convolution."""

    def __init__(self, layer: nn.Module, pad: Any) -> None:
        super().__init__()
        self.layer, self.pad = layer, pad

    def forward(self, x: torch.Tensor) -> Any:
        """x: what the layer takes."""
        return self.layer(self.pad(x))


def counts(model: nn.Module, x: torch.Tensor, *, decomposed: bool = False) -> dict[str, int]:
    """How often which pass rewrote a model, whose results stay the same."""
    program = torch.export.export(model.eval(), (x,))
    if decomposed:
        program = program.run_decompositions()
    graph = program.module(check_guards=False)
    assert isinstance(graph, torch.fx.GraphModule)
    found = apply(graph).counts
    with torch.no_grad():
        torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
    return found


ZEROS = {
    "both sides": lambda x: f.pad(x, (1, 1, 1, 1)),
    "one side": lambda x: f.pad(x, (0, 1, 0, 1)),
    "each its own": lambda x: f.pad(x, (1, 2, 3, 4), value=0.0),
    "columns": lambda x: f.pad(x, (2, 1)),
    "no more channels": lambda x: f.pad(x, (2, 1, 1, 0, 0, 0)),
    "module": nn.ZeroPad2d((1, 0, 2, 0)),
}


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("name", ZEROS)
def test_zeros_are_folded(name: str, decomposed: bool) -> None:  # noqa: FBT001
    layer = nn.Conv2d(3, 8, 3, 2, padding=(0, 1))
    found = counts(Padded(layer, ZEROS[name]), torch.randn(2, 3, 7, 6), decomposed=decomposed)
    assert found == {"convolution": 1, "fold_padding": 1}


@pytest.mark.parametrize("layer", [nn.Conv1d(4, 8, 3), nn.Conv1d(4, 4, 3, groups=4)])
def test_zeros_around_a_sequence_are_folded(layer: nn.Module) -> None:
    found = counts(Padded(layer, lambda x: f.pad(x, (4, 0))), torch.randn(2, 4, 7))
    assert found == {"convolution": 1, "fold_padding": 1}


OTHERS = {
    "ones": lambda x: f.pad(x, (1, 1, 1, 1), value=1.0),
    "cut off": lambda x: f.pad(x, (-1, 2, 1, 1)),
    "more channels": lambda x: f.pad(x[:, :2], (1, 1, 1, 1, 0, 1)),
    "reflected": lambda x: f.pad(x, (1, 1, 1, 1), mode="reflect"),
    "pooled": lambda x: f.max_pool2d(f.pad(x, (1, 1, 1, 1)), 3, 1),
    "shifted": lambda x: f.pad(x, (1, 1, 1, 1)) + 1,
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_stay_as_they_are(name: str) -> None:
    found = counts(Padded(nn.Conv2d(3, 8, 3), OTHERS[name]), torch.randn(2, 3, 7, 6))
    assert found == {"convolution": 1}


def test_zeros_that_others_use_stay() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = f.pad(x, (1, 1, 1, 1))
            return self.layer(x), x

    assert counts(Twice(), torch.randn(1, 3, 5, 5)) == {"convolution": 1}


def test_an_image_that_is_changed_in_between_stays() -> None:
    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 8, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = x * 2
            padded = f.pad(x, (1, 1, 1, 1))
            x.relu_()
            return self.layer(padded), x

    assert counts(Changing(), torch.randn(1, 3, 5, 5)) == {"convolution": 1}
