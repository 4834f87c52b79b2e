"""Which nodes of a graph stand for constants, whatever the model is called with."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.derived import is_marked
from aotbuild.passes.graph.nodes import attribute, is_float, value, written_by


def constant(module: GraphModule, node: Any) -> torch.Tensor | None:
    """What a node that stands for a constant is like, or None where it stands for none.

    A tensor that the graph itself writes to is no constant. What is computed from constants alone
    has no values yet, only a shape and a type.
    """
    return value(node) if is_marked(node) else attribute(module, node)


def is_vector(module: GraphModule, node: Any, size: int) -> bool:
    """Whether a node is a constant float32 vector of a size.

    Args:
        module: The module that holds the constants.
        node: A node of its graph, or any other argument of an operator.
        size: Number of elements, such as the channels of a convolution.
    """
    tensor = constant(module, node)
    return tensor is not None and is_float(tensor) and list(tensor.shape) == [size]


def no_writes_between(first: Node, last: Node) -> bool:
    """Whether nothing is changed in place between two nodes.

    Then what the first one reads can as well be read where the last one is.
    """
    node = first.next
    while node is not last:
        if written_by(node):
            return False
        node = node.next
    return True
