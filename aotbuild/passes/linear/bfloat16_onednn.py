"""Products and convolutions in bfloat16 by oneDNN: a rewrite of a recipe, not of every build."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import caller

aten = torch.ops.aten

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


def run(module: GraphModule) -> None:
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
            call = caller(graph)
            node.args = tuple(
                call(aten.to.dtype, argument, torch.bfloat16) if _is_float(argument) else argument
                for argument in node.args
            )
        with graph.inserting_after(node):
            wide = caller(graph)(aten.to.dtype, node, torch.float32)
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
        value = operator.attrgetter(str(argument.target))(module)
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32
