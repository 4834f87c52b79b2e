"""Batch norms that become part of the layer before them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from aotbuild.passes.pipeline import apply

aten: Any = torch.ops.aten

# torch itself, when it decomposes a program
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")


def seen(norm: Any) -> Any:
    """A norm that has seen data."""
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm


def rewritten(model: nn.Module, x: torch.Tensor, *, decomposed: bool = False) -> dict[str, int]:
    """How often which pass rewrote a model, whose results stay the same."""
    program = torch.export.export(model.eval(), (x,))
    if decomposed:
        program = program.run_decompositions()
    graph = program.module(check_guards=False)
    assert isinstance(graph, torch.fx.GraphModule)
    counts = apply(graph).counts
    with torch.no_grad():
        torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
    norms = {aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default}
    left = [node for node in graph.graph.nodes if node.target in norms]
    assert bool(left) == ("fold_batch_norm" not in counts)
    return counts


FOLDED = {
    "convolution": (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), (2, 3, 6, 6)),
    "no bias": (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), (2, 3, 6, 6)),
    "not affine": (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, affine=False), (2, 3, 6, 6)),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), (2, 8, 6, 6)),
    "groups": (nn.Conv2d(8, 4, 3, groups=2), nn.BatchNorm2d(4), (2, 8, 6, 6)),
    "sequence": (nn.Conv1d(3, 8, 3, padding="same"), nn.BatchNorm1d(8, 0.1), (2, 3, 6)),
    "volume": (nn.Conv3d(3, 8, 2), nn.BatchNorm3d(8), (2, 3, 4, 4, 4)),
    "linear": (nn.Linear(40, 30), nn.BatchNorm1d(30), (2, 40)),
}


@pytest.mark.parametrize(
    ("name", "decomposed"),
    # Decomposed, a linear layer is a product, which is no layer any more.
    [(name, decomposed) for name in FOLDED for decomposed in (False, True)][:-1],
)
def test_a_norm_is_folded(name: str, decomposed: bool) -> None:  # noqa: FBT001
    layer, norm, shape = FOLDED[name]
    model = nn.Sequential(layer, seen(norm), nn.ReLU())
    counts = rewritten(model, torch.randn(shape), decomposed=decomposed)
    assert counts["fold_batch_norm"] == 1


class Twice(nn.Module):
    """Uses what is normed, too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 8, 3), seen(nn.BatchNorm2d(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [batch, 3, height, width]."""
        y = self.layer(x)
        found: torch.Tensor = self.norm(y) * y
        return found


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Twice(), (1, 3, 5, 5)),
        (nn.Sequential(nn.ConvTranspose2d(3, 8, 3), seen(nn.BatchNorm2d(8))), (1, 3, 5, 5)),
        (nn.Sequential(nn.Linear(6, 5), seen(nn.BatchNorm1d(4))), (2, 4, 6)),
        (nn.Sequential(nn.ReLU(), seen(nn.BatchNorm2d(3))), (2, 3, 5, 5)),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)),
            (2, 3, 5, 5),
        ),
    ],
)
def test_others_stay_as_they_are(model: nn.Module, shape: tuple[int, ...]) -> None:
    assert "fold_batch_norm" not in rewritten(model, torch.randn(shape))
