"""Masks that are proved to mask nothing are dropped.

Why: exported language models compute masks that depend on no input, such as ``position >= 0``, and
join them with the mask that does. Each has the square of the length elements; the joined one then
depends on the query too, which attention has to read in full. Where the padding alone remains, the
mask is one number for each key.

What is proved is described in ``aotbuild.passes.graph.values``: no value of an input or a parameter
is trusted, so a mask that merely happens to be all true stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.aliases import Aliases
from aotbuild.passes.graph.assertions import drop_proved
from aotbuild.passes.graph.nodes import add, replace, value
from aotbuild.passes.graph.sizes import are_same, is_same
from aotbuild.passes.graph.values import Values

aten: Any = torch.ops.aten

_AND = {aten.bitwise_and.Tensor, aten.__and__.Tensor, aten.logical_and.default}
_OR = {aten.bitwise_or.Tensor, aten.__or__.Tensor, aten.logical_or.default}


def run(module: GraphModule) -> int:
    """Drop the masks of a graph that mask nothing."""
    values, aliases = Values(module), Aliases(module)
    count = 0
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target is aten.scaled_dot_product_attention.default:
            count += _drop_mask(node, values)
        else:
            operand = _unchanged_operand(node, values)
            if operand is not None and _is_apart(node, operand, aliases):
                count += _put(module, node, operand)
    if count:
        drop_proved(module)
    return count


def _drop_mask(node: Node, values: Values) -> bool:
    """Take the mask away from attention."""
    given = len(node.args) > 3
    mask = node.args[3] if given else node.kwargs.get("attn_mask")
    tensor = value(mask)
    if tensor is None:
        return False
    nothing = values.is_uniform(mask, 1 if tensor.dtype is torch.bool else 0)
    if not nothing or not _broadcasts(tensor, node):
        return False
    if given:
        node.update_arg(3, None)
    else:
        node.update_kwarg("attn_mask", None)
    return True


def _broadcasts(mask: torch.Tensor, node: Node) -> bool:
    """Whether a mask has no dimension that the result gets from it alone."""
    q, k = value(node.args[0]), value(node.args[1])
    if q is None or k is None or mask.dim() > q.dim():
        return False
    scores = [*q.shape[:-1], k.shape[-2]]
    sizes = zip(reversed(mask.shape), reversed(scores), strict=False)
    return all(is_same(size, 1) or is_same(size, whole) for size, whole in sizes)


def _is_apart(node: Node, operand: Node, aliases: Aliases) -> bool:
    """Whether nobody sees that what a node gives becomes the operand itself."""
    return not (aliases.written(node) or aliases.written(operand) or aliases.escapes(node))


def _unchanged_operand(node: Node, values: Values) -> Node | None:
    """The operand that an operator gives unchanged."""
    args: Any = node.args
    if node.kwargs or len(args) < 2 or values.get(node) is not None:
        return None
    for one, other in ((args[0], args[1]), (args[1], args[0])):
        if node.target in _AND | _OR:
            if _is_bool(one) and _is_bool(other) and values.is_uniform(other, node.target in _AND):
                return _tensor(one)
        elif (
            node.target is aten.add.Tensor
            and len(args) == 2
            and values.is_uniform(other, 0)
            and values.get(one) is None
        ):
            return _tensor(one)
    if node.target in {aten.masked_fill.Scalar, aten.masked_fill.Tensor}:
        return _tensor(args[0]) if values.is_uniform(args[1], 0) else None
    if node.target in {aten.where.self, aten.where.ScalarOther}:
        return _tensor(args[1]) if values.is_uniform(args[0], 1) else None
    return None


def _put(module: GraphModule, node: Node, operand: Node) -> bool:
    """Put an operand, broadcast to the shape of the result, in the place of a node."""
    mine, result = value(operand), value(node)
    if mine is None or result is None or mine.dtype is not result.dtype:
        return False
    missing = result.dim() - mine.dim()
    own = [1] * missing + list(mine.shape)
    with module.graph.inserting_before(node):
        if are_same(mine.shape, result.shape):
            new = operand
        else:
            sizes = [
                -1 if i >= missing and is_same(own[i], result.shape[i]) else _size(module, i, node)
                for i in range(result.dim())
            ]
            if any(size is None for size in sizes):
                return False
            new = add(module, aten.expand.default, operand, sizes)
    if new is operand:
        node.replace_all_uses_with(new)
        module.graph.erase_node(node)
    else:
        replace(node, new)
    return True


def _size(module: GraphModule, dim: int, node: Node) -> Any:
    """A size of the result of a node, from a tensor that has it: best an input."""
    result: Any = value(node)
    size = result.shape[dim]
    if isinstance(size, int):
        return size
    inputs = [each for each in module.graph.nodes if each.op == "placeholder"]
    for each in [*inputs, *node.all_input_nodes]:
        tensor: Any = value(each)
        for own, its in enumerate(tensor.shape if tensor is not None else ()):
            if not isinstance(its, int) and is_same(its, size):
                return add(module, aten.sym_size.int, each, own)
    return None


def _tensor(argument: Any) -> Node | None:
    return argument if value(argument) is not None else None


def _is_bool(argument: Any) -> bool:
    tensor = value(argument)
    return tensor is not None and tensor.dtype is torch.bool
