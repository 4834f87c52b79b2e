"""Masks are dropped where the graph proves that they mask nothing, and only there."""

# ruff: noqa: ARG001, ARG005, FBT003  # a mask is made of what it needs

from __future__ import annotations

from typing import Any

import pytest
import torch
from graphs import assert_rewritten, assert_unchanged, calls, rewritten, traced
from torch import nn
from torch.nn.functional import scaled_dot_product_attention as sdpa

Tensor = torch.Tensor
SDPA = "aten.scaled_dot_product_attention.default"


class Net(nn.Module):
    """Attention of an input with itself, under a mask that a function makes."""

    def __init__(self, mask: Any) -> None:
        super().__init__()
        self.mask = mask
        self.register_buffer("saved", torch.ones(1, 1, 6, 6, dtype=torch.bool))
        self.register_buffer("unsaved", torch.ones(6, 6, dtype=torch.bool), persistent=False)
        self.plain = torch.zeros(6, 6)
        self.parameter = nn.Parameter(torch.zeros(6, 6))

    def forward(self, x: Tensor, given: Tensor) -> Any:
        """x: (batch, 2, tokens, 8); given: (batch, tokens)."""
        return sdpa(x, x, x, attn_mask=self.mask(self, x, given))


def example(batch: int = 2, tokens: int = 6) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    given = torch.ones(batch, tokens, dtype=torch.int64)
    given[:, 3:] = 0
    return torch.randn(batch, 2, tokens, 8), given


def written(x: Tensor) -> Tensor:
    mask = torch.zeros(x.shape[2], x.shape[2])
    mask[:, 0] = 1
    return mask


def positions(x: Tensor) -> Tensor:
    return torch.arange(x.shape[2])


PROVED: dict[str, Any] = {
    "full": lambda net, x, given: torch.full((6, 6), True),
    "ones": lambda net, x, given: torch.ones(6, 6, dtype=torch.bool),
    "zeros": lambda net, x, given: torch.zeros(2, 1, 6, 6),
    "like": lambda net, x, given: torch.zeros_like(x[..., :6]),
    "new": lambda net, x, given: x.new_zeros(1, 1, 6, 6),
    "expanded": lambda net, x, given: torch.ones(1, 1, 6, dtype=torch.bool).expand(2, 1, 6, 6),
    "arithmetic": lambda net, x, given: (1 - torch.ones(6, 6)) * -1e9,
    "converted": lambda net, x, given: torch.ones(6, 6, dtype=torch.int64).bool(),
    "filled": lambda net, x, given: torch.zeros(6, 6).masked_fill(torch.zeros(6, 6) > 0, -1e9),
    "where": lambda net, x, given: torch.where(torch.ones(6, 6) == 1, 0.0, -1e9),
    "positions": lambda net, x, given: (positions(x) >= 0)[None] & (positions(x) < 6)[:, None],
    "themselves": lambda net, x, given: (positions(x) == torch.arange(6))[None],
    "sums": lambda net, x, given: (positions(x) + 2 > 1)[None].expand(6, 6),
    "not false": lambda net, x, given: ~torch.zeros(6, 6, dtype=torch.bool),
    "or true": lambda net, x, given: (given[:, None, None] > 0) | torch.ones(1, 1, 6, 6).bool(),
    "gathered": lambda net, x, given: torch.ones(9, 9, dtype=torch.bool)[given[0]][:, :6],
    "unsaved": lambda net, x, given: net.unsaved,
    "plain": lambda net, x, given: net.plain * 2,
}


@pytest.mark.parametrize("name", PROVED)
def test_a_mask_that_is_proved_to_mask_nothing_is_dropped(name: str) -> None:
    graph = assert_rewritten(Net(PROVED[name]), "constant_masks", *example())
    (node,) = (node for node in graph.graph.nodes if str(node.target) == SDPA)
    assert node.args[3:] == () or node.args[3] is None
    assert not node.kwargs.get("attn_mask")


UNPROVED: dict[str, Any] = {
    "an input": lambda net, x, given: given[:, None, None] > 0,
    "an input that is any": lambda net, x, given: given[:, None, None] >= 0,
    "a parameter": lambda net, x, given: net.parameter,
    "a saved buffer": lambda net, x, given: net.saved,
    "positions": lambda net, x, given: positions(x)[:, None] >= positions(x),
    "part of the positions": lambda net, x, given: (positions(x) < 5)[None],
    "wrapped": lambda net, x, given: ((positions(x) + 255).to(torch.uint8) > 0)[None],
    "written": lambda net, x, given: written(x),
    "triangle": lambda net, x, given: torch.ones(6, 6).tril() > 0,
    "all false": lambda net, x, given: torch.zeros(6, 6, dtype=torch.bool),
    "a small number": lambda net, x, given: torch.full((6, 6), 0.1),
    "random": lambda net, x, given: torch.rand(6, 6) > -1,
    "not a number": lambda net, x, given: torch.full((6, 6), float("nan")),
}


@pytest.mark.parametrize("name", UNPROVED)
def test_a_mask_that_is_not_proved_stays(name: str) -> None:
    assert_unchanged(Net(UNPROVED[name]), "constant_masks", *example())


def test_only_the_part_that_masks_remains() -> None:
    def mask(net: Net, x: Tensor, given: Tensor) -> Tensor:
        tokens = torch.arange(x.shape[2])
        everywhere = (tokens >= 0)[None, None, :, None] & tokens.new_ones((), dtype=torch.bool)
        return everywhere & (given > 0)[:, None, None, :]

    batch, tokens = (torch.export.Dim(name, min=1, max=99) for name in ("batch", "tokens"))
    dynamic = {"x": {0: batch, 2: tokens}, "given": {0: batch, 1: tokens}}
    net = Net(mask)
    graph = assert_rewritten(net, "constant_masks", *example(), dynamic=dynamic)
    assert not calls(graph)["aten.arange.default"]
    assert not calls(graph)["aten.__and__.Tensor"]
    more = example(3, 9)
    torch.testing.assert_close(graph(*more), net(*more))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + torch.zeros(6),
        lambda x: x.masked_fill(torch.zeros(6, dtype=torch.bool), 3),
        lambda x: torch.where(torch.ones(6, 6, dtype=torch.bool), x, 3),
    ],
)
def test_masks_of_scores_written_by_hand_are_dropped(function: Any) -> None:
    class ByHand(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x @ x.mT).softmax(-1) @ x  # type: ignore[no-any-return]

    graph = assert_rewritten(ByHand(), "constant_masks", torch.randn(2, 6, 4))
    assert rewritten(graph, "attention")[0] == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x + torch.zeros(6)).view(-1),
        lambda x: (x + torch.zeros(6)).add_(1),
        lambda x: ((y := x * 2), (z := y + torch.zeros(6)), y.add_(1), z)[-1],
        lambda x: x.double() + torch.zeros(6, dtype=torch.float64, device="cpu") + x.new_ones(1),
    ],
)
def test_no_result_becomes_an_alias_that_somebody_sees(function: Any) -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)  # type: ignore[no-any-return]

    graph = traced(Sum(), x := torch.randn(6, 6))
    rewritten(graph, "constant_masks")
    before = x.clone()
    found = graph(x)
    torch.testing.assert_close(found, Sum()(before))
    assert found.data_ptr() != x.data_ptr()
    torch.testing.assert_close(x, before)
