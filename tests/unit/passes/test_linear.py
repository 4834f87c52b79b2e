"""Linear layers with constant weights become packed products, and nothing else does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from graphs import assert_rewritten, assert_unchanged, calls, rewritten, traced
from torch import nn

from aotbuild.passes.linear.operator import ACTIVATIONS
from aotbuild.passes.pipeline import apply
from aotbuild.runtime import torch_arrays
from aotbuild.runtime.derived import compute, only_moves

PACKED = "aotbuild.packed_linear.default"


class Net(nn.Module):
    """A function of an input, of weights 40 x 70 and their like."""

    def __init__(self, function: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.linear = nn.Linear(40, 70)
        self.weight = nn.Parameter(torch.randn(70, 40))
        self.other = nn.Parameter(torch.randn(40, 70))
        self.bias = nn.Parameter(torch.randn(70))
        self.small = nn.Parameter(torch.randn(3, 20))
        self.one = nn.Parameter(torch.randn(1, 40))
        self.register_buffer("written", torch.randn(70, 40))
        self.register_buffer("narrow", torch.randn(70, 40, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(self, x)


@pytest.mark.parametrize("shape", [(40,), (1, 40), (5, 40), (2, 3, 40), (2, 1, 3, 40)])
def test_a_linear_layer_takes_any_number_of_dimensions(shape: tuple[int, ...]) -> None:
    graph = assert_rewritten(Net(lambda net, x: net.linear(x)), "linear", torch.randn(shape))
    assert calls(graph) == {PACKED: 1}


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: torch.addmm(net.bias, x, net.other),
        lambda net, x: torch.addmm(net.bias, x, net.weight.t()),
        lambda net, x: x @ net.other,
        lambda net, x: x @ net.weight.T,
        lambda net, x: x @ net.weight.permute(1, 0),
        lambda net, x: x @ net.weight.transpose(-1, -2),
        lambda net, x: x @ net.weight.t().t().t(),
        lambda net, x: torch.mm(x, net.other),
        lambda net, x: nn.functional.linear(x, net.weight),
        lambda net, x: nn.functional.linear(x, net.other.t(), net.bias),
    ],
)
def test_products_in_every_form_and_orientation_are_taken(function: Any) -> None:
    assert_rewritten(Net(function), "linear", torch.randn(5, 40))


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda net, x: nn.functional.linear(x, net.weight.chunk(2)[1], net.bias.chunk(2)[1]), 1),
        (lambda net, x: [nn.functional.linear(x, w) for w in net.weight.split([30, 40])], 2),
        (lambda net, x: nn.functional.linear(x, net.weight * 2 + 1), 1),
        (lambda net, x: torch._weight_norm(net.weight, net.bias[:, None]) @ x.T, 0),
        (lambda net, x: x @ torch._weight_norm(net.weight, net.bias[:, None]).T, 1),
    ],
)
def test_weights_may_be_computed_from_constants(function: Any, count: int) -> None:
    assert_rewritten(Net(function), "linear", torch.randn(5, 40), count=count)


def test_attention_with_one_weight_for_three_inputs_is_taken() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(64, 4, batch_first=True)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> Any:
            return self.inner(x, y, y)[0]

    inputs = torch.randn(2, 5, 64), torch.randn(2, 7, 64)
    assert_rewritten(Attention(), "linear", *inputs, count=3)


@pytest.mark.parametrize(
    ("activation", "name"),
    [
        (nn.GELU(), "gelu"),
        (nn.GELU(approximate="tanh"), "gelu_tanh"),
        (nn.Sigmoid(), "sigmoid"),
        (nn.SiLU(), "silu"),
        (nn.SiLU(inplace=True), "silu"),
        (nn.ReLU(), ""),
    ],
)
def test_an_activation_that_is_the_only_use_is_a_part_of_it(
    activation: nn.Module, name: str
) -> None:
    graph = assert_rewritten(
        Net(lambda net, x: activation(net.linear(x))), "linear", torch.randn(5, 40)
    )
    (node,) = (node for node in graph.graph.nodes if str(node.target) == PACKED)
    assert node.args[-1] == name
    assert name in ACTIVATIONS


def test_an_activation_beside_another_use_stays() -> None:
    def function(net: Any, x: torch.Tensor) -> Any:
        y = net.linear(x)
        return nn.functional.gelu(y), y

    graph = assert_rewritten(Net(function), "linear", torch.randn(5, 40))
    assert calls(graph) == {PACKED: 1, "aten.gelu.default": 1}


def test_sizes_stay_dynamic_without_guards() -> None:
    net = Net(lambda net, x: net.linear(x).relu())
    batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("length", max=64)
    x = torch.randn(3, 5, 40)
    graph = assert_rewritten(net, "linear", x, dynamic=({0: batch, 1: length},))
    (given,) = (node for node in graph.graph.nodes if node.op == "placeholder")
    shape_env = given.meta["val"].shape[0].node.shape_env
    guards = len(shape_env.guards)
    (packed,) = (node for node in graph.graph.nodes if str(node.target) == PACKED)
    assert packed.meta["val"].shape[:2] == given.meta["val"].shape[:2]
    assert len(shape_env.guards) == guards
    other = torch.randn(1, 64, 40)
    torch.testing.assert_close(graph(other), net(other))


def _writes(net: Any, x: torch.Tensor) -> Any:
    y = x @ net.written.T
    net.written[0].add_(1)
    return y


@pytest.mark.parametrize(
    "function",
    [
        _writes,
        lambda net, x: nn.functional.linear(x, net.narrow.float()),  # would take twice the place
        lambda net, x: nn.functional.linear(x[:, :20], net.small),  # faster in Inductor's loops
        lambda net, x: nn.functional.linear(x, net.one),
        lambda net, x: nn.functional.linear(x.double(), net.weight.double()),
        lambda net, x: nn.functional.linear(x, x.sum() * net.weight),
        lambda net, x: nn.functional.linear(x, net.weight, x.sum() * net.bias),
        lambda net, x: torch.addmm(net.bias, x, net.other, beta=2),
        lambda net, x: torch.addmm(net.bias, x, net.other, alpha=0.5),
        lambda net, x: net.weight @ x.T,
        lambda net, x: x @ net.other.sum(1),
        lambda net, x: x @ net.other.expand(2, 40, 70),
    ],
)
def test_what_is_no_layer_with_a_constant_weight_stays(function: Any) -> None:
    assert_unchanged(Net(function), "linear", torch.randn(5, 40))


PAIRS = "aotbuild.packed_linear_bfloat16.default"


def assert_rounded_once(
    module: nn.Module, x: torch.Tensor, count: int = 1, dynamic: Any = None
) -> torch.fx.GraphModule:
    """Layers of bfloat16 are taken, and give what the same in float32 does, rounded."""
    module = module.bfloat16()
    graph = traced(module, x, dynamic=dynamic)
    assert rewritten(graph, "linear")[0] == count
    with torch.no_grad():
        found, expected = graph(x), module.float()(x.float()).bfloat16()
    assert found.dtype is torch.bfloat16
    # Sums in another order may be rounded to the number beside.
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=1e-6)
    return graph


@pytest.mark.parametrize("shape", [(40,), (1, 40), (5, 40), (2, 3, 40)])
def test_layers_of_bfloat16_are_rounded_once(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.bfloat16)
    graph = assert_rounded_once(nn.Linear(40, 70), x)
    assert calls(graph) == {PAIRS: 1, "aten.to.dtype": 1}
    pairs = graph.get_buffer("weight_pairs")
    assert (pairs.dtype, pairs.shape) == (torch.bfloat16, (5, 20, 16, 2))
    bias = graph.get_buffer("bias_padded")
    assert (bias.dtype, bias.shape) == (torch.bfloat16, (80,))


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: torch.addmm(net.bias, x, net.other),
        lambda net, x: x @ net.other,
        lambda net, x: nn.functional.linear(x, net.weight.chunk(2)[1]),
        lambda net, x: nn.functional.silu(net.linear(x)),
        lambda net, x: nn.functional.gelu(net.linear(x)),
    ],
)
def test_layers_of_bfloat16_are_taken_in_every_form(function: Any) -> None:
    assert_rounded_once(Net(function), torch.randn(5, 40, dtype=torch.bfloat16))


def test_layers_of_bfloat16_keep_dynamic_sizes() -> None:
    batch = torch.export.Dim("batch", max=64)
    x = torch.randn(3, 40, dtype=torch.bfloat16)
    graph = assert_rounded_once(nn.Linear(40, 70), x, dynamic=({0: batch},))
    assert graph(torch.randn(64, 40, dtype=torch.bfloat16)).shape == (64, 70)


@pytest.mark.parametrize(
    "function",
    [
        lambda net, x: x[:, 1:] @ net.other[1:],  # an odd number of terms
        lambda net, x: x @ net.other[:, :1],
        lambda net, x: nn.functional.linear(x, x.sum() * net.weight),
        lambda net, x: nn.functional.linear(x, net.weight, x.sum() * net.bias),
        lambda net, x: nn.functional.linear(x.float(), net.weight.float()),  # twice the place
        lambda net, x: nn.functional.linear(x.half(), net.weight.half()),
    ],
)
def test_other_layers_of_bfloat16_stay(function: Any) -> None:
    x = torch.randn(5, 40, dtype=torch.bfloat16)
    assert_unchanged(Net(function).bfloat16(), "linear", x)


def test_what_is_packed_of_bfloat16_can_be_computed_again() -> None:
    net = nn.Linear(40, 70).bfloat16()
    graph = traced(net, torch.randn(5, 40, dtype=torch.bfloat16))
    _, derived = rewritten(graph, "linear")
    assert set(derived) == {"weight_pairs", "bias_padded"}
    state = net.state_dict()
    for name, recipe in derived.items():
        found = compute(recipe, state.__getitem__, torch_arrays)
        torch.testing.assert_close(found, getattr(graph, name), rtol=0, atol=0)
        assert only_moves(recipe)


def test_layers_that_share_a_weight_share_what_is_packed() -> None:
    graph = traced(
        Net(lambda net, x: net.linear(x) + nn.functional.linear(x, net.linear.weight)),
        torch.randn(5, 40),
    )
    count, derived = rewritten(graph, "linear")
    assert count == 2
    assert list(derived) == ["linear_weight_packed", "linear_bias_padded"]


def test_a_recipe_tells_how_what_is_packed_follows_from_the_parameters() -> None:
    net = Net(lambda net, x: net.linear(x))
    graph = traced(net, torch.randn(5, 40))
    _, derived = rewritten(graph, "linear")
    state = {name: torch.randn_like(value) for name, value in net.state_dict().items()}
    for name, recipe in derived.items():
        setattr(graph, name, compute(recipe, state.__getitem__, torch_arrays))
    net.load_state_dict(state)
    x = torch.randn(5, 40)
    torch.testing.assert_close(graph(x), net(x), rtol=1e-5, atol=1e-5)


def test_a_graph_may_be_deeper_than_pythons_stack() -> None:
    class Deep(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> Any:
            x = self.first(x)
            for _ in range(sys.getrecursionlimit()):
                x = x.sin()
            return self.last(x)

    net, x = Deep(), torch.randn(2, 16)
    graph = traced(net, x)
    count, _ = rewritten(graph, "linear")
    assert count == 2
    torch.testing.assert_close(graph(x), net(x))


def test_passes_can_be_chosen_by_name() -> None:
    graph = traced(Net(lambda net, x: net.linear(x)), torch.randn(5, 40))
    assert apply(graph, []).counts == {}
    assert apply(graph, derive=False).counts == {}
    assert apply(graph, ["linear"]).counts == {"linear": 1}
