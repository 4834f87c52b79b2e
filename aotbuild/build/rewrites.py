"""Rewrites of a graph that belong to a recipe and not to every build."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch._inductor.graph import getattr_recursive
from torch.fx import GraphModule, Node

from aotbuild.build.recipes import Recipe

aten = torch.ops.aten


def rewrite(module: GraphModule, recipe: Recipe) -> None:
    """Change the graph of a program as a recipe wants it."""
    for name in recipe.rewrites:
        _REWRITES[name](module)
    if recipe.rewrites:
        module.graph.lint()
        module.recompile()


def attention_as_products(module: GraphModule) -> None:
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
        call = _caller(graph)
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


_WEIGHTED = {
    aten.linear.default: 1,
    aten.mm.default: 1,
    aten.matmul.default: 1,
    aten.conv1d.default: 1,
    aten.conv2d.default: 1,
    aten.conv2d.padding: 1,
    aten.conv1d.padding: 1,
    aten.convolution.default: 1,
    aten.addmm.default: 2,
}
"""Operators that weigh an input, and which of their arguments are the weights."""


def products_in_bfloat16(module: GraphModule) -> None:
    """Products and convolutions with constant weights, in bfloat16 with sums in float32.

    Inputs are rounded before and results widened after each; all else stays as it is.
    """
    graph = module.graph
    for node in list(graph.nodes):
        place = _WEIGHTED.get(node.target) if node.op == "call_function" else None
        if place is None or not _is_weight(node.args[place]):
            continue
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            continue
        with graph.inserting_before(node):
            call = _caller(graph)
            node.args = tuple(
                call(aten.to.dtype, argument, torch.bfloat16) if _is_float(argument) else argument
                for argument in node.args
            )
        with graph.inserting_after(node):
            wide = _caller(graph)(aten.to.dtype, node, torch.float32)
        wide.meta["val"] = value
        node.replace_all_uses_with(wide, delete_user_cb=lambda user, wide=wide: user is not wide)
        node.meta = {**node.meta, "val": value.to(torch.bfloat16)}


def _is_weight(argument: Any) -> bool:
    """Whether an argument is a constant, perhaps seen in another order of its dimensions."""
    views = {aten.t.default, aten.transpose.int, aten.permute.default, aten.detach.default}
    while isinstance(argument, Node) and argument.target in views:
        argument = argument.args[0]
    return isinstance(argument, Node) and argument.op == "get_attr"


def _is_float(argument: Any) -> bool:
    if not isinstance(argument, Node):
        return False
    value = argument.meta.get("val")
    if value is None and argument.op == "get_attr":
        module: Any = argument.graph.owning_module
        value = getattr_recursive(module, str(argument.target))
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _caller(graph: torch.fx.Graph) -> Callable[..., Node]:
    def call(target: Any, *args: Any) -> Node:
        return graph.call_function(target, args)

    return call


_REWRITES: dict[str, Callable[[GraphModule], None]] = {
    "attention-math": attention_as_products,
    "bfloat16": products_in_bfloat16,
}
