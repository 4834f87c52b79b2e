"""Zeros that are put around an image before a convolution become its padding.

Why: models written for other frameworks, and those with odd sizes, pad by themselves, on one side
more than on the other. That is a copy of the image; the packed convolution does not need it, and
has a number of zeros of its own for each side.

It is folded where all of it is zeros around the image, none is cut off, and only the convolution
uses what it gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.convolution.operator import OP
from aotbuild.passes.graph.constants import no_writes_between
from aotbuild.passes.graph.nodes import value

aten: Any = torch.ops.aten

_STRIDE, _BEFORE, _AFTER = 5, 6, 7  # places of arguments of the operator


def run(module: GraphModule) -> int:
    """Rewrite the paddings of a graph."""
    count = 0
    for node in list(module.graph.nodes):
        if node.target is not OP:
            continue
        sides = _zeros(node.args[0], len(node.args[_STRIDE]))
        if sides is None or not no_writes_between(node.args[0], node):
            continue
        _fold(module, node, *sides)
        count += 1
    return count


def _zeros(node: Any, spatial: int) -> tuple[list[int], list[int]] | None:
    """What a node puts before and after an image, by dimension, if it is nothing but zeros."""
    args: Any = node.args
    if node.target is aten.constant_pad_nd.default:
        _, pads, *fill = args
    elif node.target is aten.pad.default and (len(args) < 3 or args[2] == "constant"):
        _, pads, *rest = args
        fill = rest[1:]
    else:
        return None
    if node.kwargs or len(node.users) != 1 or any(each not in {None, 0} for each in fill):
        return None
    if any(type(each) is not int or each < 0 for each in pads) or value(args[0]) is None:
        return None
    if any(pads[2 * spatial :]):
        return None
    pads = [*pads, *[0] * (2 * spatial)][: 2 * spatial]  # the last dimension comes first
    return pads[::2][::-1], pads[1::2][::-1]


def _fold(module: GraphModule, node: Node, before: list[int], after: list[int]) -> None:
    padding: Any = node.args[0]
    args: list[Any] = list(node.args)
    args[0] = padding.args[0]
    for place, more in ((_BEFORE, before), (_AFTER, after)):
        args[place] = [own + other for own, other in zip(args[place], more, strict=True)]
    node.args = tuple(args)
    module.graph.erase_node(padding)
