"""Which nodes of a graph may share memory, and which memory is written again.

Graphs of ``torch.export`` keep operators that write in place, as ``mask[:, 0] = 1``.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import written_by

aten: Any = torch.ops.aten

_PERHAPS = {
    aten.contiguous.default,
    aten.dropout.default,
    aten.expand_as.default,
    aten.flatten.using_ints,
    aten.reshape.default,
    aten.reshape_as.default,
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.device,
    aten.to.other,
    aten.type_as.default,
    aten.movedim.int,
    operator.getitem,
}
"""Operators that give a view or a copy, which their schemas do not tell."""


class Aliases:
    """The memory of the tensors of a graph."""

    def __init__(self, module: GraphModule) -> None:
        self._roots: dict[Node, Node] = {}
        self._written: set[Node] = set()
        for node in module.graph.nodes:
            source: Any = node.args[0] if node.args else None
            shares = isinstance(source, Node) and _may_share(node)
            self._roots[node] = self.root(source) if shares else node
        for node in module.graph.nodes:
            self._written.update(map(self.root, written_by(node)))

    def root(self, node: Node) -> Node:
        """The node that made the memory of another."""
        return self._roots.get(node, node)

    def written(self, node: Node) -> bool:
        """Whether the memory of a node is written by another one."""
        return self.root(node) in self._written

    def escapes(self, node: Node) -> bool:
        """Whether the memory of a node is an output of the graph."""
        return any(
            user.op == "output" or (self.root(user) is self.root(node) and self.escapes(user))
            for user in node.users
        )


def _may_share(node: Node) -> bool:
    if node.target in _PERHAPS:
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and any(each.alias_info is not None for each in schema.returns)
