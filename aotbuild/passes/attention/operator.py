"""The operator that is attention, without the matrix of all scores."""

from __future__ import annotations

import math

import torch

from aotbuild.passes.template.operators import define

FEW_QUERIES = 4
"""``kFewQueries`` of few_queries.h."""


def _eager(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    causal: bool,  # noqa: FBT001
    fill: float,
    undefined: bool,  # noqa: FBT001
) -> torch.Tensor:
    dtype, repeats = q.dtype, q.shape[1] // k.shape[1]
    q, k, v = q.float(), k.float(), v.float()
    k, v = (each.repeat_interleave(repeats, 1) for each in (k, v))
    scores = q @ k.transpose(-2, -1) * scale
    if mask is not None:
        is_bool = mask.dtype is torch.bool
        scores = torch.where(mask, scores, fill) if is_bool else scores + mask
    if causal:
        above = torch.ones_like(scores, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(above, -math.inf)
    weights = scores.softmax(-1)
    if not undefined:
        weights = weights.masked_fill((scores == -math.inf).all(-1, keepdim=True), 0)
    return (weights @ v).transpose(1, 2).contiguous().transpose(1, 2).to(dtype)


def _fake(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    causal: bool,  # noqa: FBT001
    fill: float,
    undefined: bool,  # noqa: FBT001
) -> torch.Tensor:
    del k, mask, scale, causal, fill, undefined
    batch, heads, queries, _ = q.shape
    return q.new_empty([batch, queries, heads, v.shape[-1]]).transpose(1, 2)


OP = define(
    "attention(Tensor q, Tensor k, Tensor v, Tensor? mask, float scale, bool causal, float fill, "
    "bool undefined) -> Tensor",
    _eager,
    _fake,
)
"""``softmax(scale * q @ k' + mask) @ v``, for q [batch, heads, queries, d],
k [batch, key heads, keys, d], v [batch, key heads, keys, dv], where the number of heads is a
multiple of that of the key heads. In memory the result is [batch, queries, heads, dv].

All are of float32. Or they are of bfloat16, for at most FEW_QUERIES queries and not ``causal``: it
is computed in float32 then, and the result is rounded.

A mask of float32, or of the type of the queries, is added to the scores; where one of bool is
false, scores become ``fill``. It has four dimensions, each as the scores or 1. With ``causal`` a
query has only keys up to its own position. A query all of whose scores are -inf gives 0, or NaN if
that is ``undefined``."""
