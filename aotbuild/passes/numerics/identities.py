"""Results that Inductor would make one tensor with what they were computed from.

``x * 1`` and ``x + 0`` are tensors of their own in eager mode. Inductor takes ``x`` in their place,
and does not look whether both are results or inputs: what a caller writes into one then is in the
other. With torch 2.13 that is so where the one or zero is a tensor, from 2.14 on with numbers too.
A copy at the end keeps them apart. It is part of the loop that computes them, and takes no time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.aliases import Aliases
from aotbuild.passes.graph.nodes import add

aten: Any = torch.ops.aten

_ARITHMETIC = {
    getattr(getattr(aten, name), overload)
    for name in ("add", "sub", "mul", "div", "rsub")
    for overload in ("Tensor", "Scalar")
}
_OF_ONE_VALUE = {
    aten.full_like.default,
    aten.ones_like.default,
    aten.zeros_like.default,
    aten.new_full.default,
    aten.new_ones.default,
    aten.new_zeros.default,
}
"""Operators that take the shape of a tensor, and not its values."""


def run(module: GraphModule) -> int:
    """Copy the results that may be taken for an operand.

    Returns:
        How many results were copied.
    """
    aliases = Aliases(module)
    constants = _constants(module)
    count = 0
    for node in dict.fromkeys(map(aliases.root, _results(module))):
        if node.target in _ARITHMETIC and any(_may_be_neutral(a, constants) for a in node.args):
            with module.graph.inserting_after(node):
                copy = add(module, aten.clone.default, node)
            node.replace_all_uses_with(copy, delete_user_cb=lambda user, own=copy: user is not own)
            count += 1
    return count


def _results(module: GraphModule) -> list[Node]:
    nodes: list[Node] = []
    for output in module.graph.find_nodes(op="output"):
        torch.fx.node.map_arg(output.args, nodes.append)
    return nodes


def _constants(module: GraphModule) -> set[Node]:
    """The nodes that give the same in each call, up to their shapes."""
    found: set[Node] = set()
    for node in module.graph.nodes:
        used = node.all_input_nodes
        computed = node.op == "call_function" and (
            node.target in _OF_ONE_VALUE or all(each in found or _is_size(each) for each in used)
        )
        if computed or node.op == "get_attr":
            found.add(node)
    return found


def _is_size(node: Node) -> bool:
    return isinstance(node.meta.get("val"), int | torch.SymInt)


def _may_be_neutral(operand: Any, constants: set[Node]) -> bool:
    """Whether an operand may be found to be one or zero."""
    return operand in constants if isinstance(operand, Node) else operand in (0, 1)
