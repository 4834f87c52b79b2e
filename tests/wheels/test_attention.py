"""Attention through the compiler: results equal those of eager torch, for all lengths and masks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from compiled import LEVELS, Call, compiled, why_not
from test_passes import assert_close
from torch import nn

sdpa: Any = nn.functional.scaled_dot_product_attention

WIDTHS = [(16, 16), (19, 32), (32, 5), (64, 64), (128, 33)]
"""Of heads, of keys and values."""


class Attentions(nn.Module):
    """Attention of every kind over the same queries, keys and masks.

    In all, queries are [batch, 4, queries, width]; they and the rest are views of one tensor, as of
    the output of a linear layer.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(24, 4 * 8 * 3)

    def forward(
        self,
        x: torch.Tensor,
        queries: torch.Tensor,
        keys: torch.Tensor,
        chosen: torch.Tensor,
        added: torch.Tensor,
    ) -> list[torch.Tensor]:
        """Attend.

        x: (batch, queries, 24); queries: (batch, queries, 4, 128); keys: (batch, keys, 2, 256);
        chosen: bool, (batch, queries, keys); added: (4, queries, keys).
        """
        batch, length, _ = x.shape
        q, k, v = self.layer(x).view(batch, length, 3, 4, 8).permute(2, 0, 3, 1, 4)
        found = [
            sdpa(q, k, v).transpose(1, 2).reshape(batch, length, 32),
            sdpa(q, k, v, is_causal=True),
            (q @ k.mT / 3).softmax(-1) @ v + 1,
        ]
        q, keys = queries.transpose(1, 2), keys.transpose(1, 2)
        for width, own in WIDTHS:
            k, v = keys[..., :width], keys[..., 256 - own :]
            found.append(sdpa(q[..., :width], k, v, enable_gqa=True).transpose(1, 2).flatten(2))
        q, k, v = q[..., :24], keys[..., :24].repeat_interleave(2, 1), keys[..., 40:80:2]
        masks = [
            chosen[:, None],
            chosen[:, None, :1],
            added,
            added[:, :1],
            added[:, :, :1],
            torch.zeros_like(added).masked_fill(~chosen[0], -math.inf),
        ]
        v = v.repeat_interleave(2, 1)
        found += [sdpa(q, k, v, attn_mask=mask, scale=0.3) for mask in masks]
        scores = q @ k.transpose(-2, -1)
        found.append(scores.masked_fill(chosen[:, None], -math.inf).softmax(-1) @ v)
        filled = q @ k.transpose(-2, -1) * 0.2
        found.append(filled.masked_fill(chosen[:, None], -1e9).softmax(-1) @ v)
        return found


def example(batch: int, queries: int, keys: int) -> list[torch.Tensor]:
    torch.manual_seed(batch + queries + keys)
    chosen = torch.rand(batch, queries, keys) < 0.6
    chosen[0, 0] = False
    return [
        torch.randn(batch, queries, 24),
        torch.randn(batch, queries, 4, 128),
        torch.randn(batch, keys, 2, 256),
        chosen,
        torch.randn(4, queries, keys) * 3,
    ]


@pytest.fixture(scope="module", params=LEVELS)
def attentions(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    if reason := why_not(request.param):
        pytest.skip(reason)
    batch, queries, keys = (
        torch.export.Dim(name, min=1, max=700) for name in ("batch", "queries", "keys")
    )
    dynamic = [
        {0: batch, 1: queries},
        {0: batch, 1: queries},
        {0: batch, 1: keys},
        {0: batch, 1: queries, 2: keys},
        {1: queries, 2: keys},
    ]
    call, applied = compiled(
        Attentions(),
        example(3, 5, 7),
        tmp_path_factory.mktemp("attention"),
        target=request.param,
        dynamic=dynamic,
    )
    assert applied.counts["attention"] == 3 + len(WIDTHS) + 8
    return call


SIZES = [
    *itertools.product((1, 2), (1, 3, 8, 15, 16, 17, 33), (1, 5, 16, 33)),
    *((1, 40, 127), (1, 9, 128), (1, 64, 129), (2, 31, 300), (1, 197, 197), (1, 2, 600)),
]


def test_attention_equals_eager_for_all_lengths(attentions: Call) -> None:
    module = Attentions().eval()
    for sizes in SIZES:
        given = example(*sizes)
        assert_close(attentions(*given), module, given)


def test_attention_does_not_depend_on_threads(attentions: Call) -> None:
    given = example(2, 100, 150)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(attentions(*given))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0, equal_nan=True)


def test_large_scores_and_what_is_not_a_number(attentions: Call) -> None:
    module = Attentions().eval()
    given = example(2, 20, 30)
    given[1] *= 100  # some weights are one, and the others less than the smallest number
    given[2][1, 3, :, 255] = torch.nan  # a value
    found = attentions(*given)
    with torch.no_grad():  # rounding is of large scores
        expected = module(*given)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3, equal_nan=True)
