"""Convolutions that are computed by Winograd's method."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from aotbuild.passes.convolution.operator import OP
from aotbuild.passes.pipeline import apply


def rewritten(
    model: nn.Module, x: torch.Tensor, dynamic: object = None
) -> tuple[torch.fx.GraphModule, dict[str, int]]:
    """The graph of a model after all passes, which gives what the model gives."""
    program = torch.export.export(model.eval(), (x,), dynamic_shapes=dynamic)  # type: ignore[arg-type]
    graph = program.module(check_guards=False)
    assert isinstance(graph, torch.fx.GraphModule)
    counts = apply(graph).counts
    with torch.no_grad():
        torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
    return graph, counts


@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
def test_a_kernel_of_3_x_3_is_transformed(padding: int | tuple[int, int]) -> None:
    model = nn.Sequential(nn.Conv2d(32, 41, 3, padding=padding), nn.BatchNorm2d(41), nn.ReLU())
    graph, counts = rewritten(model, torch.randn(2, 32, 15, 14))
    assert counts == {"fold_batch_norm": 1, "convolution": 1, "winograd": 1}
    (node,) = (node for node in graph.graph.nodes if node.target is OP)
    packed = node.args[1]
    assert isinstance(packed, torch.fx.Node)
    assert getattr(graph, str(packed.target)).shape == (16, 3, 32, 16)


def test_any_number_of_images() -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    _, counts = rewritten(nn.Conv2d(32, 32, 3), torch.randn(2, 32, 15, 15), ({0: batch},))
    assert counts["winograd"] == 1


@pytest.mark.parametrize(
    ("layer", "width"),
    [
        (nn.Conv2d(32, 32, 3, 2), 40),
        (nn.Conv2d(32, 32, 3, dilation=2), 40),
        (nn.Conv2d(32, 32, (3, 1)), 40),
        (nn.Conv2d(32, 32, 5), 40),
        (nn.Conv2d(32, 32, 3, groups=32), 40),
        (nn.Conv2d(64, 64, 3, groups=2), 40),
        (nn.Conv2d(33, 32, 3), 40),
        (nn.Conv2d(16, 32, 3), 40),
        (nn.Conv2d(32, 16, 3), 40),
        (nn.Conv2d(32, 32, 3), 13),
    ],
)
def test_others_stay_as_they_are(layer: nn.Conv2d, width: int) -> None:
    _, counts = rewritten(layer, torch.randn(1, layer.in_channels, width, width))
    assert counts == {"convolution": 1}


def test_an_image_of_any_size_stays_as_it_is() -> None:
    height = torch.export.Dim("height", min=8)
    _, counts = rewritten(nn.Conv2d(32, 32, 3), torch.randn(1, 32, 40, 40), ({2: height},))
    assert counts == {"convolution": 1}
