"""Convolutions with packed weights: which are rewritten, with what behind them, and the results."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as f

from aotbuild.passes.convolution.operator import OP
from aotbuild.passes.pipeline import apply

aten: Any = torch.ops.aten
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


def rewritten(
    model: nn.Module, *args: torch.Tensor, dynamic: Any = None
) -> tuple[torch.fx.GraphModule, dict[str, int]]:
    """The graph of a model after all passes, which gives what the model gives."""
    graph = torch.export.export(model.eval(), args, dynamic_shapes=dynamic).module(
        check_guards=False
    )
    assert isinstance(graph, torch.fx.GraphModule)
    counts = apply(graph).counts
    with torch.no_grad():
        expected, found = model(*args), graph(*args)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    outputs = [expected] if isinstance(expected, torch.Tensor) else expected
    given = [found] if isinstance(found, torch.Tensor) else found
    assert [each.stride() for each in given] == [each.stride() for each in outputs]
    return graph, counts


def operators(graph: torch.fx.GraphModule) -> Counter[Any]:
    """How often the graph calls what."""
    return Counter(node.target for node in graph.graph.nodes if node.op == "call_function")


class Then(nn.Module):
    """A layer, and something behind it."""

    def __init__(self, layer: nn.Module, then: Any) -> None:
        super().__init__()
        self.layer, self.then = layer, then

    def forward(self, x: torch.Tensor) -> Any:
        """x: what the layer takes."""
        return self.then(self.layer(x), x)


LAYERS = {
    "plain": (nn.Conv2d(3, 20, 3), (2, 3, 9, 8)),
    "padded": (nn.Conv2d(3, 16, 3, padding=(2, 1), bias=False), (1, 3, 9, 8)),
    "strided": (nn.Conv2d(3, 5, (3, 2), stride=(2, 3), dilation=(1, 2)), (1, 3, 9, 8)),
    "pointwise": (nn.Conv2d(24, 33, 1), (2, 24, 5, 4)),
    "same": (nn.Conv2d(2, 4, (3, 4), padding="same"), (1, 2, 6, 7)),
    "valid": (nn.Conv2d(2, 4, 3, padding="valid"), (1, 2, 6, 7)),
    "depthwise": (nn.Conv2d(12, 12, 3, padding=1, groups=12), (1, 12, 6, 7)),
    "one channel": (nn.Conv2d(1, 1, 3, padding=1), (1, 1, 6, 7)),
    "sequence": (nn.Conv1d(4, 7, 3, padding=1, dilation=2), (2, 4, 11)),
    "deep sequence": (nn.Conv1d(6, 6, 5, stride=2, groups=6), (2, 6, 11)),
    "same sequence": (nn.Conv1d(4, 7, 4, padding="same"), (2, 4, 11)),
    "groups": (nn.Conv2d(48, 72, 3, padding=1, groups=3), (2, 48, 6, 7)),
    "small groups": (nn.Conv2d(40, 40, 3, padding=1, groups=5), (2, 40, 6, 7)),
    "pairs": (nn.Conv2d(6, 6, 3, groups=3), (1, 6, 5, 5)),
    "groups of three": (nn.Conv2d(4, 6, 3, groups=2), (1, 4, 5, 5)),
    "more of each channel": (nn.Conv2d(4, 8, 3, groups=4), (1, 4, 5, 5)),
    "fewer of each group": (nn.Conv2d(16, 8, 1, groups=4), (1, 16, 5, 5)),
    "groups of a sequence": (nn.Conv1d(32, 64, 5, padding=2, groups=2), (2, 32, 11)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_convolution_is_rewritten(name: str) -> None:
    layer, shape = LAYERS[name]
    graph, counts = rewritten(layer, torch.randn(shape))
    assert counts == {"convolution": 1}
    assert operators(graph) == {OP: 1}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.ConvTranspose2d(3, 4, 2), (1, 3, 5, 5)),
        (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4)),
        (nn.Conv2d(4, 8, 3), (4, 5, 5)),
        (nn.Conv2d(4, 8, 3).double(), (1, 4, 5, 5)),
    ],
)
def test_others_stay_as_they_are(layer: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=next(layer.parameters()).dtype)
    graph, counts = rewritten(layer, x)
    assert not counts
    assert OP not in operators(graph)


def test_weights_that_are_computed_stay_as_they_are() -> None:
    class Given(nn.Module):
        def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return f.conv2d(x, weight)

    _, counts = rewritten(Given(), torch.randn(1, 2, 5, 5), torch.randn(3, 2, 2, 2))
    assert not counts


def test_weights_that_the_model_changes_stay_as_they_are() -> None:
    class Changing(nn.Module):
        weight: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.randn(3, 2, 2, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.weight.mul_(1.5)
            return f.conv2d(x, self.weight)

    model = Changing()
    graph = torch.export.export(model, (torch.randn(1, 2, 5, 5),)).module(check_guards=False)
    assert isinstance(graph, torch.fx.GraphModule)
    assert not apply(graph).counts


BEHIND = {
    "relu": lambda y, _: y.relu(),
    "relu in place": lambda y, _: y.relu_(),
    "relu6": lambda y, _: f.relu6(y),
    "hardtanh": lambda y, _: f.hardtanh(y, -0.5, 0.25),
    "default hardtanh": lambda y, _: f.hardtanh(y),
    "clamp": lambda y, _: y.clamp(max=0.25),
    "clamp_min": lambda y, _: y.clamp_min(0.25),
    "silu": lambda y, _: f.silu(y, inplace=True),
    "sigmoid": lambda y, _: y.sigmoid(),
    "hardswish": lambda y, _: f.hardswish(y),
    "hardsigmoid": lambda y, _: f.hardsigmoid(y),
    "gelu": lambda y, _: f.gelu(y),
    "gelu with a tangent": lambda y, _: f.gelu(y, approximate="tanh"),
    "sum": lambda y, x: y + x,
    "sum from the left": lambda y, x: x + y,
    "sum in place": lambda y, x: y.add_(x),
    "sum and relu": lambda y, x: f.relu(y + x),
    "sum and silu": lambda y, x: f.silu(x + y),
}


@pytest.mark.parametrize("name", BEHIND)
def test_what_follows_becomes_part_of_it(name: str) -> None:
    model = Then(nn.Conv2d(6, 6, 3, padding=1), BEHIND[name])
    graph, _ = rewritten(model, torch.randn(2, 6, 5, 4))
    assert operators(graph) == {OP: 1}


APART = {
    "used twice": lambda y, _: (y.relu(), y + 1),
    "itself": lambda y, _: y + y,
    "scaled": lambda y, x: torch.add(y, x, alpha=2),
    "number": lambda y, _: y + 1.0,
    "broadcast": lambda y, x: y + x[:1],
    "in place of another": lambda y, x: x.clone().add_(y),
    "bound given": lambda y, x: y.clamp(x.min(), x.max()),
}


@pytest.mark.parametrize("name", APART)
def test_what_is_something_else_stays_apart(name: str) -> None:
    model = Then(nn.Conv2d(6, 6, 3, padding=1), APART[name])
    graph, counts = rewritten(model, torch.randn(2, 6, 5, 4))
    assert counts == {"convolution": 1}
    assert len(operators(graph)) > 1


def test_what_is_changed_in_between_is_read_before() -> None:
    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x * 2
            y = self.layer(x)
            z = x + 1
            x.mul_(3)
            found: torch.Tensor = y + z
            return found

    graph, _ = rewritten(Changing(), torch.randn(1, 4, 3, 3))
    assert operators(graph)[aten.add.Tensor] == 2


def test_a_second_convolution_takes_the_sum() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(4, 8, 1, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return f.relu(self.a(x) + self.b(x))

    graph, counts = rewritten(Block(), torch.randn(1, 4, 6, 6))
    assert counts == {"convolution": 2}
    assert operators(graph) == {OP: 2}


def test_sizes_stay_as_they_were_declared() -> None:
    batch, height = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("height", min=4)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 2, 2))
    graph, counts = rewritten(model, torch.randn(2, 3, 6, 6), dynamic=({0: batch, 2: height},))
    assert counts == {"convolution": 2}
    for n, h in ((1, 4), (17, 9), (64, 33)):
        x = torch.randn(n, 3, h, 6)
        with torch.no_grad():
            torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
    (x,) = (node for node in graph.graph.nodes if node.op == "placeholder")
    assert not x.meta["val"].shape[0].node.shape_env.guards


def test_images_with_innermost_channels_keep_their_strides() -> None:
    x = torch.randn(2, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    _, counts = rewritten(nn.Conv2d(3, 4, 3), x)
    assert counts == {"convolution": 1}


def test_nan_stays_nan() -> None:
    x = torch.randn(1, 2, 4, 4)
    x[0, 0, 1, 1] = torch.nan
    graph, _ = rewritten(nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU6()), torch.randn(1, 2, 4, 4))
    assert graph(x)[0, :, 1, 1].isnan().all()


def test_weights_that_are_computed_from_others() -> None:
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv1d(8, 20, 3, padding=1)),
        nn.ReLU(),
        nn.utils.parametrizations.weight_norm(nn.Conv1d(20, 16, 3)),
    )
    graph, counts = rewritten(model, torch.randn(2, 8, 9))
    assert counts["convolution"] == 2
    assert operators(graph) == {OP: 2}
