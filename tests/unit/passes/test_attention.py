"""Attention in its usual forms becomes one operator, and nothing else does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from graphs import assert_rewritten, assert_unchanged, calls, rewritten, traced
from torch import nn

sdpa: Any = nn.functional.scaled_dot_product_attention

ATTENTION = "aotbuild.attention.default"


class Net(nn.Module):
    """A function of inputs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *given: torch.Tensor) -> Any:
        return self.function(*given)


def qkv(*, heads: int = 4, key_heads: int = 4, width: int = 8) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = (heads, 5), (key_heads, 7), (key_heads, 7)
    return [torch.randn(2, each, length, width) for each, length in shapes]


def masked_rows(mask: torch.Tensor) -> torch.Tensor:
    mask[0, ..., 1, :] = -math.inf if mask.is_floating_point() else 0
    return mask


@pytest.mark.parametrize(
    "mask",
    [
        None,
        torch.rand(5, 7) < 0.7,
        torch.rand(2, 1, 1, 7) < 0.7,
        masked_rows(torch.rand(2, 4, 5, 7) < 0.7),
        torch.randn(5, 7),
        torch.randn(1, 4, 5, 1),
        masked_rows(torch.randn(2, 1, 5, 7)),
    ],
)
def test_attention_with_any_mask_is_taken(mask: torch.Tensor | None) -> None:
    given = qkv() if mask is None else [*qkv(), mask]
    graph = assert_rewritten(Net(sdpa), "attention", *given)
    assert calls(graph)[ATTENTION] == 1


@pytest.mark.parametrize(
    "options",
    [{"is_causal": True}, {"scale": 0.3}, {"enable_gqa": True}, {"dropout_p": 0.0}],
)
def test_the_options_of_attention_are_taken(options: dict[str, Any]) -> None:
    key_heads = 2 if "enable_gqa" in options else 4
    assert_rewritten(
        Net(lambda *given: sdpa(*given, **options)), "attention", *qkv(key_heads=key_heads)
    )


def test_attention_of_three_dimensions_is_taken() -> None:
    given = [each[:, 0] for each in qkv()]
    assert_rewritten(Net(sdpa), "attention", *given)
    assert_rewritten(Net(sdpa), "attention", *given, torch.rand(2, 5, 7) < 0.7)
    assert_rewritten(Net(sdpa), "attention", *given, torch.randn(5, 7))


def few_of_bfloat16(queries: int, *, key_heads: int = 4) -> list[torch.Tensor]:
    q, k, v = (each.bfloat16() for each in qkv(key_heads=key_heads))
    return [q[:, :, :queries].contiguous(), k, v]


@pytest.mark.parametrize(
    "mask",
    [
        None,
        torch.rand(2, 1, 1, 7) < 0.7,
        torch.randn(3, 7).bfloat16(),
        masked_rows(torch.randn(2, 1, 3, 7)),
    ],
)
def test_few_queries_of_bfloat16_are_taken(mask: torch.Tensor | None) -> None:
    given = few_of_bfloat16(3)
    given = given if mask is None else [*given, mask]
    graph = traced(Net(sdpa), *given)
    assert rewritten(graph, "attention")[0] == 1
    found = graph(*given)
    assert found.dtype is torch.bfloat16
    wide = [each if each.dtype is torch.bool else each.float() for each in given]
    assert torch.equal(found, sdpa(*wide).bfloat16())


def test_other_attention_of_bfloat16_stays() -> None:
    assert_unchanged(Net(sdpa), "attention", *few_of_bfloat16(5))
    assert_unchanged(
        Net(lambda *given: sdpa(*given, is_causal=True)), "attention", *few_of_bfloat16(3)
    )
    assert_unchanged(Net(HANDWRITTEN["plain"]), "attention", *few_of_bfloat16(3))
    queries = torch.export.Dim("queries", max=9)
    graph = traced(Net(sdpa), *few_of_bfloat16(3), dynamic={"given": ({2: queries}, None, None)})
    assert rewritten(graph, "attention")[0] == 0


def softmax_of(scores: torch.Tensor) -> torch.Tensor:
    return nn.functional.dropout(scores.softmax(-1), 0.1, training=False)


HANDWRITTEN: dict[str, Any] = {
    "plain": lambda q, k, v: softmax_of(q @ k.transpose(-2, -1)) @ v,
    "divided": lambda q, k, v: softmax_of(q @ k.transpose(2, 3) / math.sqrt(8)) @ v,
    "scaled": lambda q, k, v: softmax_of(q @ k.mT * 0.3) @ v,
    "in float32": lambda q, k, v: (q @ k.mT).softmax(-1, dtype=torch.float32).to(q.dtype) @ v,
    "masked": lambda q, k, v: softmax_of(q @ k.mT * 0.3 + torch.eye(5, 7)) @ v,
    "masked first": lambda q, k, v: softmax_of(torch.eye(5, 7) + q @ k.mT) @ v,
    "filled": lambda q, k, v: softmax_of((q @ k.mT).masked_fill(torch.eye(5, 7) == 1, -1e9)) @ v,
    "chosen": lambda q, k, v: softmax_of(torch.where(torch.eye(5, 7) == 0, q @ k.mT, -1e4)) @ v,
    "chosen by a tensor": lambda q, k, v: (
        softmax_of(torch.where(torch.eye(5, 7) == 0, q @ k.mT, torch.full((), -1e4))) @ v
    ),
    "undefined": lambda q, k, v: (
        softmax_of((q @ k.mT).masked_fill(torch.arange(5)[:, None] == 1, -math.inf)) @ v
    ),
    "heads together": lambda q, k, v: torch.bmm(
        softmax_of(torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT) * 0.2), v.flatten(0, 1)
    ),
}


@pytest.mark.parametrize("name", HANDWRITTEN)
def test_attention_written_by_hand_is_taken(name: str) -> None:
    module, given = Net(HANDWRITTEN[name]), qkv()
    graph = traced(module, *given)
    assert rewritten(graph, "attention")[0] == 1
    assert not {"aten.softmax.int", "aten.matmul.default", "aten.bmm.default"} & set(calls(graph))
    torch.testing.assert_close(graph(*given), module(*given), rtol=1e-5, atol=1e-5, equal_nan=True)


def test_weights_that_nobody_asks_for_do_not_matter() -> None:
    layer = nn.MultiheadAttention(32, 4, batch_first=True)
    x = torch.randn(2, 5, 32)
    assert_rewritten(Net(lambda x: layer(x, x, x)[0]), "attention", x)


def repeat_kv(x: torch.Tensor) -> torch.Tensor:
    """As the models of transformers do it."""
    batch, heads, keys, width = x.shape
    x = x[:, :, None, :, :].expand(batch, heads, 2, keys, width)
    return x.reshape(batch, heads * 2, keys, width)


REPEATS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "expanded": repeat_kv,
    "expanded and copied": lambda x: repeat_kv(x).contiguous(),
    "copied twice": lambda x: repeat_kv(x.clone()).clone(),
    "flattened": lambda x: x.unsqueeze(2).expand(-1, -1, 2, -1, -1).flatten(1, 2),
    "repeated": lambda x: x.repeat_interleave(2, 1),
    "repeated from behind": lambda x: torch.repeat_interleave(x, 2, dim=-3),
}


@pytest.mark.parametrize("repeat", REPEATS.values(), ids=REPEATS)
@pytest.mark.parametrize("sizes", ["known", "dynamic"])
def test_keys_that_several_heads_share_are_not_repeated(repeat: Any, sizes: str) -> None:
    batch, keys = (torch.export.Dim(name, min=1, max=99) for name in "bk")
    shapes: Any = {"given": ({0: batch}, {0: batch, 2: keys}, {0: batch, 2: keys})}
    shapes = shapes if sizes == "dynamic" else None
    net = Net(lambda q, k, v: sdpa(q, repeat(k), repeat(v)))
    graph = assert_rewritten(net, "attention", *qkv(key_heads=2), dynamic=shapes)
    (node,) = (node for node in graph.graph.nodes if str(node.target) == ATTENTION)
    assert [each.meta["val"].shape[1] for each in node.args[:3]] == [4, 2, 2]
    by_hand = Net(lambda q, k, v: (q @ repeat(k).transpose(2, 3) * 0.3).softmax(-1) @ repeat(v))
    graph = assert_rewritten(by_hand, "attention", *qkv(key_heads=2), dynamic=shapes)
    assert ATTENTION in calls(graph)
    (node,) = (node for node in graph.graph.nodes if str(node.target) == ATTENTION)
    assert [each.meta["val"].shape[1] for each in node.args[:3]] == [4, 2, 2]


def test_keys_that_are_repeated_otherwise_are_not_shared() -> None:
    for repeat in (lambda x: x.repeat(1, 2, 1, 1), lambda x: torch.cat([x, x], 1)):
        net = Net(lambda q, k, v, repeat=repeat: sdpa(q, repeat(k), repeat(v)))
        graph = assert_rewritten(net, "attention", *qkv(key_heads=2))
        (node,) = (node for node in graph.graph.nodes if str(node.target) == ATTENTION)
        assert [each.meta["val"].shape[1] for each in node.args[:3]] == [4, 4, 4]


class Cache(nn.Module):
    """Attention over a cache that a call writes first, or between two of its steps."""

    def __init__(self, attend: Callable[..., Any], *, late: bool = False) -> None:
        super().__init__()
        self.attend, self.late = attend, late
        self.cache: torch.Tensor
        self.register_buffer("cache", torch.zeros(2, 2, 2, 16, 8))

    def forward(self, q: torch.Tensor, new: torch.Tensor, mask: torch.Tensor) -> Any:
        if not self.late:
            self.cache[:, :, :, 3:4] = new
        k, v = repeat_kv(self.cache[0]), repeat_kv(self.cache[1])
        if self.late:
            self.cache[:, :, :, 3:4] = new
        return self.attend(q, k, v, mask)


def decoded() -> list[torch.Tensor]:
    torch.manual_seed(0)
    mask = (torch.arange(16) < 4).expand(1, 1, 1, 16)
    return [torch.randn(2, 4, 1, 8), torch.randn(2, 2, 2, 1, 8), mask]


ATTENDS: dict[str, Any] = {
    "scaled": lambda q, k, v, mask: sdpa(q, k, v, attn_mask=mask),
    "by hand": lambda q, k, v, mask: (
        (q @ k.transpose(2, 3)).masked_fill(~mask, -math.inf).softmax(-1) @ v
    ),
}


@pytest.mark.parametrize("attend", ATTENDS.values(), ids=ATTENDS)
def test_a_cache_that_is_written_before_is_read_where_it_lies(attend: Any) -> None:
    given = decoded()
    graph = traced(Cache(attend), *given)
    assert rewritten(graph, "attention")[0] == 1
    (node,) = (node for node in graph.graph.nodes if str(node.target) == ATTENTION)
    assert [each.meta["val"].shape[1] for each in node.args[:3]] == [4, 2, 2]
    with torch.no_grad():
        torch.testing.assert_close(graph(*given), Cache(attend)(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attend", ATTENDS.values(), ids=ATTENDS)
def test_a_cache_that_is_written_after_it_was_copied_is_not_read(attend: Any) -> None:
    given = decoded()
    graph = traced(Cache(attend, late=True), *given)
    rewritten(graph, "attention")
    with torch.no_grad():
        torch.testing.assert_close(graph(*given), Cache(attend, late=True)(*given))


def test_lengths_and_batches_may_be_dynamic() -> None:
    batch, queries, keys = (torch.export.Dim(name, min=1, max=99) for name in "bqk")
    shapes = {0: batch, 2: queries}, {0: batch, 2: keys}, {0: batch, 2: keys}
    given = [*qkv(), torch.rand(2, 1, 5, 7) < 0.7]
    dynamic = {"given": (*shapes, {0: batch, 2: queries, 3: keys})}
    graph = assert_rewritten(Net(sdpa), "attention", *given, dynamic=dynamic)
    more = [torch.randn(3, 4, length, 8) for length in (1, 9, 9)]
    torch.testing.assert_close(graph(*more, torch.ones(3, 1, 1, 9) > 0), sdpa(*more))


OTHERS: dict[str, Any] = {
    "weights that are used too": lambda q, k, v: [w := (q @ k.mT).softmax(-1), w @ v],
    "scores that are used too": lambda q, k, v: [s := q @ k.mT, s.softmax(-1) @ v],
    "softmax over queries": lambda q, k, v: (q @ k.mT).softmax(-2) @ v,
    "dropout": lambda q, k, v: nn.functional.dropout((q @ k.mT).softmax(-1), 0.1) @ v,
    "a scale for each head": lambda q, k, v: (q @ k.mT * torch.rand(4, 1, 1)).softmax(-1) @ v,
    "softmax in float64": lambda q, k, v: (q @ k.mT).softmax(-1, dtype=torch.float64) @ v.double(),
    "queries that are written": lambda q, k, v: (
        (s := (p := q + 1) @ k.mT),
        p.zero_(),
        s.softmax(-1) @ v,
    )[2],
    "scores that are written": lambda q, k, v: (q @ k.mT).mul_(2).softmax(-1) @ v,
    "attention with dropout": lambda q, k, v: sdpa(q, k, v, dropout_p=0.1),
    "values with own batches": lambda q, k, v: (q[:1] @ k[:1].mT).softmax(-1) @ v,
    "a mask that makes more": lambda q, k, v: (
        (q[:1] @ k[:1].mT + torch.ones(2, 1, 1, 7)).softmax(-1) @ v
    ),
    "float64": lambda q, k, v: sdpa(q.double(), k.double(), v.double()),
    "bfloat16": lambda q, k, v: sdpa(q.bfloat16(), k.bfloat16(), v.bfloat16()),
    "very wide heads": lambda q, k, v: sdpa(*(each.repeat(1, 1, 1, 40) for each in (q, k, v))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_quite_attention_stays(name: str) -> None:
    assert_unchanged(Net(OTHERS[name]), "attention", *qkv())


def test_heads_of_dynamic_width_stay() -> None:
    width = torch.export.Dim("width", min=2, max=64)
    dynamic = {"given": ({3: width},) * 3}
    assert_unchanged(Net(HANDWRITTEN["plain"]), "attention", *qkv(), dynamic=dynamic)
