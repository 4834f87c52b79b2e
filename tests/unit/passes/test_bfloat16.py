"""The pass bfloat16: where it fires, and that it rounds factors and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from graphs import calls, rewritten, traced
from torch import nn

from aotbuild.passes.pipeline import PASSES, apply
from aotbuild.runtime import torch_arrays
from aotbuild.runtime.derived import compute

PAIRS = "aotbuild.packed_linear_bfloat16.default"
PACKED = "aotbuild.packed_linear.default"


def packed(module: nn.Module, *args: torch.Tensor, dynamic: Any = None) -> torch.fx.GraphModule:
    graph = traced(module, *args, dynamic=dynamic)
    with torch.no_grad():
        PASSES["linear"].run(graph)
    return graph


def rounded(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(torch.bfloat16).float()


@pytest.mark.parametrize(("k", "n"), [(64, 48), (64, 70), (130, 33), (2, 1030)])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3)])
def test_factors_are_rounded(k: int, n: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(k, n), nn.GELU())
    x = torch.randn(*shape, k)
    graph = packed(layer, x)
    count, derived = rewritten(graph, "bfloat16")
    assert count == 1
    assert calls(graph) == {"aten.to.dtype": 1, PAIRS: 1}
    linear: Any = layer[0]
    expected = nn.functional.gelu(
        nn.functional.linear(rounded(x), rounded(linear.weight), linear.bias)
    )
    with torch.no_grad():
        torch.testing.assert_close(graph(x), expected.detach(), rtol=1e-5, atol=1e-5)
    pairs = [name for name in derived if name.endswith("_pairs")]
    assert len(pairs) == 1
    constant = getattr(graph, pairs[0])
    assert constant.dtype == torch.bfloat16
    assert constant.shape == (-(-n // 16), k // 2, 16, 2)


def test_what_was_computed_can_be_computed_again() -> None:
    layer = nn.Linear(64, 50)
    x = torch.randn(3, 64)
    graph = packed(layer, x)
    _, derived = rewritten(graph, "bfloat16")
    tensors = dict(graph.named_parameters()) | dict(graph.named_buffers())
    for name, recipe in derived.items():
        found = compute(recipe, lambda key: tensors[key].detach(), torch_arrays)
        torch.testing.assert_close(found, getattr(graph, name), rtol=0, atol=0)


def test_an_input_of_several_layers_is_rounded_once() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> Any:
            return self.q(x), self.k(x)

    graph = packed(Heads(), torch.randn(3, 64))
    assert rewritten(graph, "bfloat16")[0] == 2
    assert calls(graph) == {"aten.to.dtype": 1, PAIRS: 2}


def test_sizes_stay_dynamic() -> None:
    rows = torch.export.Dim("rows", max=64)
    layer = nn.Linear(64, 32)
    graph = packed(layer, torch.randn(3, 64), dynamic=({0: rows},))
    assert rewritten(graph, "bfloat16")[0] == 1
    assert graph(torch.randn(17, 64)).shape == (17, 32)


def test_an_odd_number_of_terms_is_left_alone() -> None:
    graph = packed(nn.Linear(63, 48), torch.randn(5, 63))
    assert rewritten(graph, "bfloat16")[0] == 0
    assert calls(graph) == {PACKED: 1}


def test_it_is_applied_only_where_accuracy_may_be_lost() -> None:
    layer, x = nn.Linear(64, 48), torch.randn(5, 64)
    exact, short = traced(layer, x), traced(layer, x)
    assert apply(exact).counts == {"linear": 1}
    assert apply(short, precision="bfloat16").counts == {"linear": 1, "bfloat16": 1}
    assert calls(exact) == {PACKED: 1}
    assert calls(short) == {"aten.to.dtype": 1, PAIRS: 1}
