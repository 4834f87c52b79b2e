"""Attention as products and a softmax: a rewrite of a recipe, not of every build."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import caller

aten = torch.ops.aten


def run(module: GraphModule) -> None:
    """Attention as two products and a softmax, of which Inductor makes kernels of its own.

    The memory grows with the square of the length. Left alone are attentions with dropout, which
    are not for inference, and those in which several heads share their keys.
    """
    for node in list(module.graph.nodes):
        if node.target is aten.scaled_dot_product_attention.default:
            _expand_attention(module.graph, node)


def _expand_attention(graph: torch.fx.Graph, node: Node) -> None:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    query, key, value = given["query"], given["key"], given["value"]
    if given.get("dropout_p") or given.get("enable_gqa"):
        return
    causal, mask = bool(given.get("is_causal")), given.get("attn_mask")
    if causal and mask is not None:
        return
    width = query.meta["val"].shape[-1]
    scale = given.get("scale")
    if scale is None:
        if not isinstance(width, int):
            return
        scale = 1 / math.sqrt(width)
    with graph.inserting_before(node):
        call = caller(graph)
        scores = call(
            aten.matmul.default,
            call(aten.mul.Scalar, query, scale),
            call(aten.transpose.int, key, -2, -1),
        )
        if causal:
            scores = _causal(call, scores, query, key)
        elif mask is not None:
            if mask.meta["val"].dtype == torch.bool:
                lowest = call(aten.scalar_tensor.default, -math.inf)
                zero = call(aten.scalar_tensor.default, 0.0)
                mask = call(aten.where.self, mask, zero, lowest)
            scores = call(aten.add.Tensor, scores, mask)
        result = call(aten.matmul.default, call(aten._safe_softmax.default, scores, -1), value)
    result.meta.update(node.meta)
    node.replace_all_uses_with(result)
    graph.erase_node(node)


def _causal(call: Callable[..., Node], scores: Node, query: Node, key: Node) -> Node:
    """Scores of which each row sees the columns up to its own number."""
    rows = call(aten.arange.default, call(aten.sym_size.int, query, -2))
    columns = call(aten.arange.default, call(aten.sym_size.int, key, -2))
    seen = call(aten.ge.Tensor, call(aten.unsqueeze.default, rows, 1), columns)
    hidden = call(aten.logical_not.default, seen)
    return call(aten.masked_fill.Scalar, scores, hidden, -math.inf)
