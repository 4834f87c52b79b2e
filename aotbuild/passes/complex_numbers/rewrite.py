"""Pairs of numbers that are viewed as complex ones lie side by side.

Eager torch refuses others. Inside a compiled model images are "channels last" from the first
convolution on, and so is what is stacked of them: pairs that were neighbours are none any more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import add

aten: Any = torch.ops.aten


def run(module: GraphModule) -> int:
    """Let pairs be contiguous; a copy is made only where they are not.

    Args:
        module: A graph; those of its loops and branches are changed, too.

    Returns:
        How many views were found.
    """
    count = 0
    for each in module.modules():
        if not isinstance(each, GraphModule):
            continue
        views = each.graph.find_nodes(op="call_function", target=aten.view_as_complex.default)
        for node in views:
            pairs = node.args[0]
            assert isinstance(pairs, Node)  # noqa: S101  # it takes nothing else
            with each.graph.inserting_before(node):
                node.args = (add(each, aten.contiguous.default, pairs),)
        if views and each is not module:
            each.recompile()
        count += len(views)
    return count
