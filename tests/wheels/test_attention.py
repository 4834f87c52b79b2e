"""Attention through the compiler: results equal those of eager torch, for all lengths and masks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from compiled import LEVELS, Call, compiled, same_by_any_threads, why_not
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
    same_by_any_threads(attentions, *given, equal_nan=True)


def test_large_scores_and_what_is_not_a_number(attentions: Call) -> None:
    module = Attentions().eval()
    given = example(2, 20, 30)
    given[1] *= 100  # some weights are one, and the others less than the smallest number
    given[2][1, 3, :, 255] = torch.nan  # a value
    found = attentions(*given)
    with torch.no_grad():  # rounding is of large scores
        expected = module(*given)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3, equal_nan=True)


class Decoding(nn.Module):
    """Attention of few queries over caches, of which masks hide what is not filled yet."""

    def forward(
        self,
        q: torch.Tensor,
        cache: torch.Tensor,
        chosen: torch.Tensor,
        added: torch.Tensor,
    ) -> list[torch.Tensor]:
        """Attend.

        q: (batch, 12, rows, 72); cache: (batch, length, 2, 2, 72); chosen: bool, (rows, length);
        added: (batch, rows, length).
        """
        k, v = cache.permute(2, 0, 3, 1, 4)
        found = [
            sdpa(q, k, v, enable_gqa=True),
            sdpa(q, k, v, attn_mask=chosen[None, None], enable_gqa=True),
            sdpa(q, repeat_kv(k, 6), repeat_kv(v, 6), attn_mask=added[:, None]),
            sdpa(q[:, :2, :1], k, v, attn_mask=chosen[:1]),
        ]
        for width in (64, 16, 5):  # whole vectors of each CPU, and others
            parts = q[:, ::3, :, :width], k[..., :width], v[..., -width:].contiguous()
            found.append(sdpa(*parts, attn_mask=chosen, enable_gqa=True))
        scores = q @ repeat_kv(k, 6).transpose(2, 3) * 0.1
        scores = scores.masked_fill(~chosen, -math.inf)
        return [*found, scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ repeat_kv(v, 6)]


def repeat_kv(x: torch.Tensor, times: int) -> torch.Tensor:
    batch, heads, length, width = x.shape
    x = x[:, :, None, :, :].expand(batch, heads, times, length, width)
    return x.reshape(batch, heads * times, length, width)


def decoded(batch: int, rows: int, length: int, valid: int) -> list[torch.Tensor]:
    torch.manual_seed(batch + rows + length)
    chosen = torch.arange(length) < torch.arange(valid, valid + rows)[:, None]
    added = torch.zeros(batch, rows, length).masked_fill(~chosen, -math.inf)
    added += torch.randn(batch, rows, length)
    return [
        torch.randn(batch, 12, rows, 72),
        torch.randn(batch, length, 2, 2, 72),
        chosen,
        added,
    ]


@pytest.fixture(scope="module", params=LEVELS)
def decoding(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    if reason := why_not(request.param):
        pytest.skip(reason)
    batch, rows = (torch.export.Dim(name, min=1, max=9) for name in ("batch", "rows"))
    length = torch.export.Dim("length", min=1, max=4096)
    call, applied = compiled(
        Decoding(),
        decoded(3, 5, 70, 50),
        tmp_path_factory.mktemp("decoding"),
        target=request.param,
        dynamic=[
            {0: batch, 2: rows},
            {0: batch, 1: length},
            {0: rows, 1: length},
            {0: batch, 1: rows, 2: length},
        ],
    )
    assert applied.counts["attention"] == 8
    return call


VALID = [
    *itertools.product((1, 2), (1, 2, 3, 4, 5), (9, 64), (4,)),
    *((1, 1, 1, 1), (1, 1, 300, 300), (1, 1, 300, 40), (1, 4, 1000, 17), (3, 1, 129, 128)),
    *((1, 1, 2500, 2400), (1, 2, 4000, 700), (2, 1, 1111, 1111)),
]
"""Batch, rows, length, and what of it the first row sees."""


def test_few_queries_equal_eager_for_all_lengths(decoding: Call) -> None:
    for sizes in VALID:
        given = decoded(*sizes)
        assert_close(decoding(*given), Decoding(), given)


def test_few_queries_do_not_depend_on_threads(decoding: Call) -> None:
    for sizes in ((2, 1, 700, 600), (2, 4, 700, 600), (1, 1, 2100, 1900), (1, 1, 4000, 900)):
        same_by_any_threads(decoding, *decoded(*sizes))


def test_masks_of_few_queries_may_hide_anything(decoding: Call) -> None:
    for rows, length in ((1, 50), (3, 200), (4, 33)):
        given = decoded(2, rows, length, 0)
        torch.manual_seed(rows)
        given[2] = torch.rand(rows, length) < 0.1
        given[2][:, 17:31] = True
        given[2][0] = False  # what gives nothing, or in a softmax NaN
        given[3] = torch.randn(2, rows, length).masked_fill(
            torch.rand(rows, length) < 0.5, -math.inf
        )
        given[3][0, -1] = -math.inf
        given[3][1] = -1e30
        assert_close(decoding(*given), Decoding(), given)


def test_what_no_query_sees_of_a_cache_is_not_read(decoding: Call) -> None:
    for rows in (1, 4):
        given = decoded(1, rows, 100, 20)
        expected = decoding(*given)[1:]
        given[1][:, 20 + rows - 1 :] = torch.nan
        torch.testing.assert_close(decoding(*given)[1:], expected, rtol=0, atol=0, equal_nan=True)


def test_few_queries_with_what_is_no_number(decoding: Call) -> None:
    for rows in (1, 3):
        given = decoded(2, rows, 60, 60)
        given[1][1, 3, 1, 0, 7] = torch.nan  # a value
        given[1][0, 7, 1, 1, 9] = torch.inf
        given[1][1, 9, 0, 1, 2] = torch.inf  # a key
        given[1][0, 11, 0, 0, 2] = torch.nan
        assert_close(decoding(*given), Decoding(), given)
    given = decoded(1, 1, 1200, 1100)
    given[1][0, 900, 1, 0, 7] = torch.nan
    given[1][0, 7, 1, 1, 9] = torch.inf
    assert_close(decoding(*given), Decoding(), given)


class Rounded(nn.Module):
    """Attention of bfloat16 as decoders have it."""

    def forward(
        self,
        q: torch.Tensor,
        cache: torch.Tensor,
        chosen: torch.Tensor,
        added: torch.Tensor,
    ) -> list[torch.Tensor]:
        """Attend.

        q: (batch, 12, 3, 72); cache: (batch, length, 2, 2, 72), both of bfloat16;
        chosen: bool, (3, length); added: (batch, 3, length).
        """
        k, v = cache.permute(2, 0, 3, 1, 4)
        found = [
            sdpa(q, k, v, enable_gqa=True),
            sdpa(q[:, :2, :1], k, v, scale=0.2),
            sdpa(q[:, :, :2], k, v, attn_mask=chosen[:2], enable_gqa=True),
            sdpa(q, repeat_kv(k, 6), repeat_kv(v, 6), attn_mask=added[:, None]),
            sdpa(q, repeat_kv(k, 6), repeat_kv(v, 6), attn_mask=added[:, None].to(q.dtype)),
            # Keys whose numbers do not lie side by side.
            sdpa(q[..., ::9], k[..., ::9], v, enable_gqa=True),
        ]
        for width in (64, 16, 5):
            parts = q[:, ::3, :1, :width], k[..., :width], v[..., -width:].contiguous()
            found.append(sdpa(*parts, attn_mask=chosen[:1], enable_gqa=True))
        return found


@pytest.fixture(scope="module", params=LEVELS)
def rounded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    if reason := why_not(request.param):
        pytest.skip(reason)
    batch = torch.export.Dim("batch", min=1, max=9)
    length = torch.export.Dim("length", min=2, max=4096)
    call, applied = compiled(
        Rounded(),
        in_bfloat16(decoded(3, 3, 70, 50)),
        tmp_path_factory.mktemp("rounded"),
        target=request.param,
        dynamic=[{0: batch}, {0: batch, 1: length}, {1: length}, {0: batch, 2: length}],
    )
    assert applied.counts["attention"] == 9
    return call


def in_bfloat16(given: list[torch.Tensor]) -> list[torch.Tensor]:
    q, cache, chosen, added = given
    return [q.bfloat16(), cache.bfloat16(), chosen, added.bfloat16().float()]


@pytest.mark.parametrize(
    "sizes", [(1, 2, 2), (2, 9, 4), (1, 300, 40), (3, 129, 129), (1, 17, 0), (1, 1900, 1700)]
)
def test_few_queries_of_bfloat16_are_computed_in_float32(
    rounded: Call, sizes: tuple[int, int, int]
) -> None:
    batch, length, valid = sizes
    given = in_bfloat16(decoded(batch, 3, length, valid))
    expected = Rounded()(*(each if each.dtype is torch.bool else each.float() for each in given))
    for mine, its in zip(rounded(*given), expected, strict=True):
        assert mine.dtype is torch.bfloat16
        # The last bit may differ where a sum in another order is nearer to another number.
        torch.testing.assert_close(mine.float(), its, rtol=2**-8, atol=1e-6)


def test_few_queries_of_bfloat16_with_what_is_no_number(rounded: Call) -> None:
    given = in_bfloat16(decoded(2, 3, 60, 60))
    given[1][1, 3, 1, 0, 7] = torch.nan  # a value
    given[1][0, 7, 1, 1, 9] = torch.inf
    given[1][0, 11, 0, 0, 2] = torch.nan  # a key
    expected = Rounded()(*(each if each.dtype is torch.bool else each.float() for each in given))
    for mine, its in zip(rounded(*given), expected, strict=True):
        torch.testing.assert_close(mine.float(), its, rtol=2**-8, atol=1e-6, equal_nan=True)
