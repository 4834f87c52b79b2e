"""Assertions of a traced graph that hold whatever the inputs are."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import value

aten: Any = torch.ops.aten


def asserts_type(node: Node) -> bool:
    """Whether a node only tells what the type of a tensor is."""
    return node.target is aten._assert_tensor_metadata.default


def is_idle_dropout(node: Node) -> bool:
    """Whether a node is dropout that drops nothing; it counts as random all the same."""
    args: Any = node.args
    return node.target is aten.dropout.default and (not args[2] or not args[1])


def drop_proved(module: GraphModule) -> None:
    """Remove assertions of types that the graph shows, and what is then of no use.

    They count as effects, so what a pass has replaced would be computed only to be asked its type;
    so does dropout.
    """
    for node in reversed(list(module.graph.nodes)):
        if not node.users and is_idle_dropout(node):
            module.graph.erase_node(node)
            continue
        tensor = value(node.args[0]) if asserts_type(node) else None
        if (
            tensor is not None
            and len(node.args) == 1
            and all(
                key in {"dtype", "device", "layout"} and getattr(tensor, key) == wanted
                for key, wanted in node.kwargs.items()
                if wanted is not None
            )
        ):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
