"""Convolutions with kernels of 3 x 3 are computed by Winograd's method.

Why: for tiles of 2 x 2 results it needs 16 products for each channel where 36 are written down, and
besides these only additions. Where images and channels are large enough for the products to be what
takes the time, a convolution takes 0.5 to 0.6 times as long. The weights are 16/9 times as large.

Each result is still a sum of the same products, but rounded in another order, with an error of some
units in the last place of the largest summand: below the tolerances of the step verify by far. A
larger tile, of 4 x 4 results, would multiply that error.

A packed convolution is rewritten where its kernel is 3 x 3, moves by one and is not dilated, the
image has a known size of at least 12 x 12 results or so, and there are at least 32 channels before
and after, those before in whole vectors.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.convolution.operator import OP, PANEL
from aotbuild.passes.graph.constants import constant
from aotbuild.passes.graph.derived import derive
from aotbuild.passes.graph.nodes import add, value

aten: Any = torch.ops.aten

_CHANNELS = 32
"""Before and after: with fewer the transformations take more time than is won."""
_RESULTS = 144
"""In an image: with fewer, reading the larger weights takes more time than is won."""


def run(module: GraphModule) -> int:
    """Rewrite the convolutions of a graph."""
    nodes = [node for node in module.graph.nodes if node.target is OP and _fits(module, node)]
    for node in nodes:
        with module.graph.inserting_before(node):
            transformed = _transformed(module, node.args[1])
        node.update_arg(1, transformed)
    return len(nodes)


def _fits(module: GraphModule, node: Node) -> bool:
    args: Any = node.args
    given, packed, _, _, channels, stride, _, _, dilation, *_ = args
    weight, image, result = constant(module, packed), value(given), value(node)
    if weight is None or image is None or result is None or weight.dim() != 5:
        return False
    _, height, width, inner, _ = weight.shape
    if inner != image.shape[1]:  # there are groups
        return False
    sizes = result.shape[2:]
    return (
        (height, width) == (3, 3)
        and list(stride) == list(dilation) == [1, 1]
        and inner % PANEL == 0
        and min(inner, channels) >= _CHANNELS
        and all(type(size) is int for size in sizes)
        and math.prod(sizes) >= _RESULTS
        and min(sizes) > 2
    )


def _transformed(module: GraphModule, packed: Any) -> Node:
    """The weights [panels, 3, 3, in, 16], transformed: [16, panels, in, 16]."""
    rows = [_along(module, row, 1) for row in _along(module, packed, 1)]
    numbers = add(module, aten.stack.default, [number for row in rows for number in row], 0)
    return derive(numbers, "transformed")


def _along(module: GraphModule, weights: Any, dim: int) -> list[Node]:
    """Four sums of the three slices along a dimension: a, (a + b + c) / 2, (a - b + c) / 2, c."""
    a, b, c = (add(module, aten.select.int, weights, dim, place) for place in range(3))
    outer = add(module, aten.mul.Tensor, add(module, aten.add.Tensor, a, c), 0.5)
    middle = add(module, aten.mul.Tensor, b, 0.5)
    plus = add(module, aten.add.Tensor, outer, middle)
    return [a, plus, add(module, aten.sub.Tensor, outer, middle), c]
