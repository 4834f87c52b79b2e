"""Slices in place of the parts of constants, as of a weight that several layers share.

An operator such as ``split`` gives a list, whose items are no results of an operator: what is
computed from them could not be written as a derivation.
"""

from __future__ import annotations

import operator
from itertools import accumulate
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import add, is_constant, replace, value
from aotbuild.passes.graph.sizes import is_static

aten: Any = torch.ops.aten


def slice_constants(module: GraphModule) -> None:
    """Put slices in place of the items of constants that are split."""
    for node in list(module.graph.nodes):
        if node.target in _SPLITS and is_constant(module, node):
            _slice(module, node)


_SPLITS = {
    aten.chunk.default,
    aten.split.Tensor,
    aten.split.sizes,
    aten.split_with_sizes.default,
}


def _slice(module: GraphModule, split: Node) -> None:
    source: Any = split.args[0]
    dim = split.args[2] if len(split.args) > 2 else split.kwargs.get("dim", 0)
    items = {user: user.args[1] for user in split.users if user.target is operator.getitem}
    parts = split.meta.get("val")
    if len(items) < len(split.users) or parts is None or value(source) is None:
        return
    if not all(map(is_static, parts)):
        return
    ends = list(accumulate(int(each.shape[dim]) for each in parts))
    for item, place in items.items():
        i: Any = place
        end = ends[i]
        start = end - int(parts[i].shape[dim])
        with module.graph.inserting_before(item):
            replace(item, add(module, aten.slice.Tensor, source, dim, start, end))
    module.graph.erase_node(split)
