"""Indices that eager torch refuses where compiled code would count them from the end.

``index_add``, ``index_copy``, ``index_reduce`` and ``index_select`` take no negative indices.
Inductor of torch 2.13 makes indexing of them, in which -1 is the last element
(``test_a_negative_index_is_refused`` notices when this can go).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import add, attribute, value

aten: Any = torch.ops.aten

_OUTSIDE = 2**31 - 1
"""An index that no dimension has, of any type of indices: the code checks for it already."""

_OPERATORS = {
    f"aten.{name}{end}"
    for name in ("index_add", "index_copy", "index_reduce", "index_select")
    for end in ("", "_")
}
_INDEX = 2


def run(module: GraphModule) -> int:
    """Let negative indices of these operators be out of range.

    Args:
        module: A graph; it is changed.

    Returns:
        How many operators were changed.
    """
    count = 0
    for node in list(module.graph.nodes):
        packet = getattr(node.target, "overloadpacket", None)
        if str(packet) not in _OPERATORS or len(node.args) <= _INDEX:
            continue
        index = node.args[_INDEX]
        if not isinstance(index, Node) or _never_negative(module, index):
            continue
        with module.graph.inserting_before(node):
            negative = add(module, aten.lt.Scalar, index, 0)
            checked = add(module, aten.masked_fill.Scalar, index, negative, _OUTSIDE)
        node.update_arg(_INDEX, checked)
        count += 1
    return count


def _never_negative(module: GraphModule, index: Node) -> bool:
    """Whether the graph shows that indices are not negative; an unknown type is left alone."""
    constant = attribute(module, index)
    if constant is not None:
        return not constant.numel() or int(constant.min()) >= 0
    tensor = value(index)
    return tensor is None or tensor.dtype not in {torch.int64, torch.int32}
