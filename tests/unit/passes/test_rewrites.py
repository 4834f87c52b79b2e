"""Rewrites of recipes: they fire where they should, and give what they should."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from aotbuild.passes.attention.expand import run as attention_as_products
from aotbuild.passes.linear.bfloat16_onednn import run as products_in_bfloat16
from aotbuild.passes.pipeline import rewrite
from aotbuild.steps.tune.recipes import RECIPES


def graph(module: nn.Module, *example: torch.Tensor, dynamic: Any = None) -> torch.fx.GraphModule:
    program = torch.export.export(module.eval(), example, dynamic_shapes=dynamic)
    found = program.module(check_guards=False)
    assert isinstance(found, torch.fx.GraphModule)
    return found


def called(module: torch.fx.GraphModule) -> list[str]:
    return [str(n.target) for n in module.graph.nodes if n.op == "call_function"]


class Attention(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: torch.Tensor, k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        chosen: dict[str, Any] = {} if self.options.get("is_causal") else {"attn_mask": mask}
        return scaled_dot_product_attention(q, k, k + 1, **chosen, **self.options)


Q, K = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8)
SEEN = torch.rand(5, 7) > 0.3
SEEN[2] = False


@pytest.mark.parametrize(
    ("mask", "options"),
    [
        (SEEN, {}),
        (torch.randn(5, 7), {}),
        (torch.randn(2, 1, 5, 7), {"scale": 0.3}),
        (SEEN, {"is_causal": True}),
    ],
)
def test_attention_becomes_products(mask: torch.Tensor, options: dict[str, Any]) -> None:
    module = Attention(**options)
    found = graph(module, Q, K, mask)
    rewrite(found, RECIPES["attention-math"].rewrites)
    assert not any("scaled_dot_product" in name for name in called(found))
    torch.testing.assert_close(found(Q, K, mask), module(Q, K, mask))


def test_attention_over_a_dynamic_length_becomes_products() -> None:
    module = Attention(is_causal=True)
    dim = torch.export.Dim("n", max=64)
    found = graph(module, Q, Q, SEEN, dynamic=({2: dim}, {2: dim}, None))
    rewrite(found, RECIPES["attention-math"].rewrites)
    assert not any("scaled_dot_product" in name for name in called(found))
    for length in (2, 5, 40):
        q = torch.randn(2, 3, length, 8)
        torch.testing.assert_close(found(q, q, SEEN), module(q, q, SEEN))


def test_attention_with_dropout_is_left_alone() -> None:
    found = graph(Attention(dropout_p=0.5), Q, K, SEEN)
    before = called(found)
    attention_as_products(found)
    assert called(found) == before


class Weighted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.linear = nn.Linear(8, 5)
        self.matrix = nn.Parameter(torch.randn(5, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(self.conv(x).mean((2, 3))) @ self.matrix
        return y @ y.T  # no weights


def test_products_with_weights_are_in_bfloat16() -> None:
    torch.manual_seed(0)
    module = Weighted()
    x = torch.randn(2, 3, 8, 8)
    found = graph(module, x)
    rewrite(found, RECIPES["bfloat16-onednn"].rewrites)
    names = called(found)
    assert names.count("aten.to.dtype") == (3 + 1) + (3 + 1) + (2 + 1)
    result, exact = found(x), module(x)
    assert result.dtype == torch.float32
    error = float((result - exact).detach().abs().max() / exact.detach().abs().max())
    assert 0 < error < 2e-2


def test_other_types_are_left_alone() -> None:
    module = nn.Linear(8, 4).to(torch.float64)
    found = graph(module, torch.randn(2, 8, dtype=torch.float64))
    products_in_bfloat16(found)
    assert "aten.to.dtype" not in called(found)
