"""Pairs of numbers that are viewed as complex ones lie side by side.

Eager torch refuses others. Inside a compiled model images are "channels last" from the first
convolution on, and so is what is stacked of them: pairs that were neighbours are none any more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import add, in_all_graphs

aten: Any = torch.ops.aten


def run(module: GraphModule) -> int:
    """Let pairs be contiguous; a copy is made only where they are not.

    Args:
        module: A graph; those of its loops and branches are changed, too.

    Returns:
        How many views were found.
    """
    return in_all_graphs(module, _rewrite)


def _rewrite(module: GraphModule) -> int:
    views = module.graph.find_nodes(op="call_function", target=aten.view_as_complex.default)
    for node in views:
        pairs = node.args[0]
        assert isinstance(pairs, Node)  # noqa: S101  # it takes nothing else
        with module.graph.inserting_before(node):
            node.args = (add(module, aten.contiguous.default, pairs),)
    return len(views)
