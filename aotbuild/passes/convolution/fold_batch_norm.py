"""Batch norms behind convolutions and linear layers become part of their weights.

Why: in evaluation a batch norm multiplies each channel by a constant and adds one, as the layer
before it can do with its own weights and bias. Left alone it is one more pass over the image, which
for layers with few channels takes as long as the layer itself.

A norm is folded where it has fixed statistics, all of its tensors and the weights of the layer are
constant float32 tensors of the module, and nothing else uses what the layer gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.constants import constant, is_vector
from aotbuild.passes.graph.derived import derive
from aotbuild.passes.graph.nodes import add, is_float, replace

aten: Any = torch.ops.aten

_LAYERS = {
    aten.conv1d.default,
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv1d.padding,
    aten.conv2d.padding,
    aten.conv3d.padding,
    aten.convolution.default,
    aten.linear.default,
}
"""All have an input, a weight whose first dimension is that of the results, and a bias."""
_TRANSPOSED = 6  # place of the argument of aten.convolution


@dataclass(frozen=True)
class _Norm:
    """A batch norm in evaluation."""

    node: Node
    result: Node
    """What others use: the norm itself, or the first of several results."""
    weight: Any
    bias: Any
    mean: Any
    variance: Any
    epsilon: float


def run(module: GraphModule) -> int:
    """Rewrite the norms of a graph."""
    count = 0
    for node in list(module.graph.nodes):
        norm = _norm(node)
        if norm and _fits(module, norm):
            _fold(module, norm)
            count += 1
    return count


def foldable(module: GraphModule) -> int:
    """How many norms of a graph would be rewritten; the graph stays as it is."""
    norms = [norm for node in module.graph.nodes if (norm := _norm(node))]
    return sum(_fits(module, norm) for norm in norms)


def _norm(node: Node) -> _Norm | None:
    if node.kwargs:
        return None
    args: Any = node.args
    if node.target is aten.batch_norm.default:
        _, weight, bias, mean, variance, training, _, epsilon, _ = args
        return None if training else _Norm(node, node, weight, bias, mean, variance, epsilon)
    if node.target is aten._native_batch_norm_legit_no_training.default:
        _, weight, bias, mean, variance, _, epsilon = args
        users = list(node.users)
        if len(users) == 1 and users[0].args == (node, 0):
            return _Norm(node, users[0], weight, bias, mean, variance, epsilon)
    return None


def _fits(module: GraphModule, norm: _Norm) -> bool:
    """Whether a norm is proved to be a part of the layer before it."""
    layer: Any = norm.node.args[0]
    if layer.target not in _LAYERS or layer.kwargs or len(layer.users) != 1:
        return False
    if layer.target is aten.convolution.default and layer.args[_TRANSPOSED]:
        return False
    weight = constant(module, layer.args[1])
    if weight is None or not is_float(weight):
        return False
    channels = weight.shape[0]
    if layer.target is aten.linear.default and len(layer.meta["val"].shape) != 2:
        return False  # the norm's channels are the second dimension
    vectors = [norm.mean, norm.variance]
    vectors += [each for each in (norm.weight, norm.bias, _bias(layer)) if each is not None]
    return all(is_vector(module, each, channels) for each in vectors)


def _bias(layer: Node) -> Any:
    return layer.args[2] if len(layer.args) > 2 else None


def _fold(module: GraphModule, norm: _Norm) -> None:
    layer: Any = norm.node.args[0]
    bias = _bias(layer)
    weight: Any = constant(module, layer.args[1])
    with module.graph.inserting_before(layer):

        def compute(target: Any, *args: Any) -> Node:
            return add(module, target, *args)

        scale = compute(aten.rsqrt.default, compute(aten.add.Scalar, norm.variance, norm.epsilon))
        if norm.weight is not None:
            scale = compute(aten.mul.Tensor, norm.weight, scale)
        shape = [weight.shape[0], *[1] * (weight.dim() - 1)]
        scaled = compute(
            aten.mul.Tensor, layer.args[1], compute(aten.reshape.default, scale, shape)
        )
        shift = compute(aten.neg.default, norm.mean)
        if bias is not None:
            shift = compute(aten.add.Tensor, bias, shift)
        shift = compute(aten.mul.Tensor, shift, scale)
        if norm.bias is not None:
            shift = compute(aten.add.Tensor, norm.bias, shift)
        args = [layer.args[0], derive(scaled, "folded"), derive(shift, "folded"), *layer.args[3:]]
        new = module.graph.call_function(layer.target, tuple(args))
        new.meta.update(layer.meta)
    replace(norm.result, new)
    if norm.node is not norm.result:
        module.graph.erase_node(norm.node)
    module.graph.erase_node(layer)
