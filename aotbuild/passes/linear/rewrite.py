"""Linear layers with constant weights become products with packed weights.

Why: torch's own products reach half of what the CPU can do at the sizes of these layers, and read
the weights in an order that is not theirs. The packed product reads them once, front to back, and
applies the bias and the activation while the result is in the first cache. It also takes what else
follows elementwise, such as the sum of a residual connection, as Inductor's own templates do.

A layer is rewritten where its weight is a constant float32 matrix of the module and its input is
float32 on the CPU. ``linear``, ``addmm``, ``mm`` and ``matmul`` are taken, with weights in either
orientation, and inputs with any number of leading dimensions of any size.

Layers of bfloat16 are taken as well, where the sum goes over an even number of terms: sums, bias
and activation are in float32, and the result is rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.derived import derive
from aotbuild.passes.graph.nodes import add, constant_matrix, is_constant, is_float, replace, value
from aotbuild.passes.graph.slices import slice_constants
from aotbuild.passes.linear import bfloat16_operator as packed_linear_bfloat16
from aotbuild.passes.linear import operator as packed_linear
from aotbuild.passes.linear.bfloat16_rewrite import in_pairs
from aotbuild.passes.linear.operator import PANEL

aten: Any = torch.ops.aten

_SMALLEST, _SMALLEST_FOR_ONE_ROW = 1 << 6, 1 << 9
"""Elements of a weight; less is left to Inductor's loops, which are fused with others."""


@dataclass(frozen=True)
class _Layer:
    """A product of rows with a matrix."""

    node: Node
    rows: Node
    weight: Node
    columns_first: bool
    """Whether the weight is [n, k], as in ``linear``, and not [k, n]."""
    bias: Node | None

    @property
    def dtype(self) -> torch.dtype:
        """That of the rows, which all the rest must have."""
        rows = value(self.rows)
        return torch.bfloat16 if is_float(rows, torch.bfloat16) else torch.float32


def run(module: GraphModule) -> int:
    """Rewrite the layers of a graph."""
    slice_constants(module)
    count = 0
    for node in list(module.graph.nodes):
        layer = _layer(node) if node.op == "call_function" else None
        if layer and _fits(module, layer):
            _rewrite(module, layer)
            count += 1
    return count


def _layer(node: Node) -> _Layer | None:
    """What a node computes if it may be a layer."""
    args: Any = node.args
    if node.target is aten.linear.default and not node.kwargs:
        bias = args[2] if len(args) > 2 else None
        return _oriented(node, args[0], args[1], bias, columns_first=True)
    if node.target in {aten.mm.default, aten.matmul.default} and not node.kwargs:
        return _oriented(node, args[0], args[1], None, columns_first=False)
    if node.target is aten.addmm.default and not node.kwargs:
        return _oriented(node, args[1], args[2], args[0], columns_first=False)
    return None


def _oriented(
    node: Node, rows: Any, weight: Any, bias: Any, *, columns_first: bool
) -> _Layer | None:
    """A layer with its weight before it was transposed."""
    if not isinstance(rows, Node) or not isinstance(weight, Node):
        return None
    while (weight.op == "call_function" and _is_transposed(weight)) and weight.args:
        weight, columns_first = weight.args[0], not columns_first
    return _Layer(node, rows, weight, columns_first, bias)


def _is_transposed(node: Node) -> bool:
    """Whether a node is the transposition of a matrix."""
    of = value(node.args[0]) if node.args else None
    if of is None or of.dim() != 2:
        return False
    if node.target in {aten.t.default, aten.numpy_T.default}:
        return True
    dims: Any = node.args[1:]
    if node.target is aten.transpose.int:
        return {dim % 2 for dim in dims} == {0, 1}
    return node.target is aten.permute.default and [dim % 2 for dim in dims[0]] == [1, 0]


def _fits(module: GraphModule, layer: _Layer) -> bool:
    """Whether a layer is proved to be what the packed product computes."""
    dtype, rows = layer.dtype, value(layer.rows)
    weight = constant_matrix(module, layer.weight, dtype=dtype)
    if weight is None or rows is None or not is_float(rows, dtype) or rows.dim() < 1:
        return False
    one = all(type(size) is int and size == 1 for size in rows.shape[:-1])
    smallest = _SMALLEST_FOR_ONE_ROW if one else _SMALLEST
    if weight.numel() < smallest or is_constant(module, layer.rows):
        return False
    k, n = reversed(weight.shape) if layer.columns_first else weight.shape
    if n == 1:  # a sum, which Inductor's loops make in many parts at once
        return False
    # A size of the input that is not known to be that of the weight would become a guard.
    if type(rows.shape[-1]) is not int or rows.shape[-1] != k:
        return False
    if dtype is torch.bfloat16 and k % 2:
        return False
    if layer.bias is None:
        return True
    bias = constant_matrix(module, layer.bias, dims=1, dtype=dtype)
    return bias is not None and bias.shape == (n,)


def _rewrite(module: GraphModule, layer: _Layer) -> None:
    weight = constant_matrix(module, layer.weight, dtype=layer.dtype)
    assert weight is not None  # noqa: S101
    last, activation = _activated(layer.node)
    n = weight.shape[0 if layer.columns_first else 1]
    with module.graph.inserting_before(layer.node):
        packed = _packed(module, layer.weight, columns_first=layer.columns_first)
        bias = _padded(module, layer.bias, n) if layer.bias else None
        if layer.dtype is torch.bfloat16:
            pairs, operator = in_pairs(module, packed), packed_linear_bfloat16.OP
            wide = add(module, operator, layer.rows, pairs, bias, n, activation)
            new = add(module, aten.to.dtype, wide, torch.bfloat16)
        else:
            new = add(module, packed_linear.OP, layer.rows, packed, bias, n, activation)
    replace(last, new)
    if last is not layer.node:
        module.graph.erase_node(layer.node)


_ACTIVATIONS: dict[Any, str] = {
    aten.sigmoid.default: "sigmoid",
    aten.sigmoid_.default: "sigmoid",
    aten.silu.default: "silu",
    aten.silu_.default: "silu",
}


def _activated(node: Node) -> tuple[Node, str]:
    """The activation that is the only use of a layer, or the layer itself."""
    users = list(node.users)
    if len(users) != 1 or users[0].args[:1] != (node,):
        return node, ""
    user = users[0]
    name = _ACTIVATIONS.get(user.target, "")
    if user.target is aten.gelu.default:
        approximate = user.kwargs.get("approximate", "none")
        name = {"none": "gelu", "tanh": "gelu_tanh"}.get(str(approximate), "")
    return (user, name) if name else (node, "")


def _packed(module: GraphModule, weight: Node, *, columns_first: bool) -> Node:
    """The weight in panels of columns: [panels, k, PANEL]."""
    if not columns_first:
        weight = add(module, aten.permute.default, weight, [1, 0])
    tensor = value(weight)
    assert tensor is not None  # noqa: S101
    n, k = tensor.shape
    panels = -(-n // PANEL)
    if n % PANEL:
        weight = add(module, aten.constant_pad_nd.default, weight, [0, 0, 0, panels * PANEL - n])
    panelled = add(module, aten.reshape.default, weight, [panels, PANEL, k])
    ordered = add(module, aten.permute.default, panelled, [0, 2, 1])
    contiguous: dict[str, Any] = {"memory_format": torch.contiguous_format}
    return derive(add(module, aten.clone.default, ordered, kwargs=contiguous), "packed")


def _padded(module: GraphModule, bias: Node, n: int) -> Node:
    """The bias, filled up to whole panels."""
    if n % PANEL == 0:
        return bias if bias.op == "get_attr" else derive(bias, "bias")
    return derive(add(module, aten.constant_pad_nd.default, bias, [0, -n % PANEL]), "padded")
