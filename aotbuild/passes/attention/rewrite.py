"""Attention becomes one operator, which never makes the matrix of all scores.

Why: the products of attention are small, one for each head, and what torch calls for them reaches a
fraction of what the CPU can do; its results are copied once more where heads are joined. The own
kernel reads queries, keys and values where the linear layers wrote them, keeps the scores of a
block in the first cache, and writes the heads side by side. For 12 heads of 32 and 256 tokens it
takes a quarter of the time.

Taken are ``scaled_dot_product_attention`` without dropout, and the same written by hand: a product
of queries with transposed keys, scaled by a number, with a mask added or filled in, then softmax
over the keys, and a product with values. All must be float32 on the CPU with heads of a static
width, and nothing else may use what lies between. ``scaled_dot_product_attention`` of bfloat16 is
taken where its queries are few, as when a decoder makes one token after another: torch's takes
eight times as long as in float32 there. Sizes and masks may be dynamic; where the graph
does not show that they fit one another, as where torch would broadcast them, it stays as it is.

Keys and values that are repeated for heads that share them are read before that, as long as nobody
writes to them in between: a cache is often written in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import replace as modified
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.attention.operator import FEW_QUERIES, OP
from aotbuild.passes.graph.aliases import Aliases
from aotbuild.passes.graph.assertions import asserts_type, drop_proved, is_idle_dropout
from aotbuild.passes.graph.nodes import add, is_float, replace, value, written_by
from aotbuild.passes.graph.sizes import are_same, is_same
from aotbuild.passes.graph.values import Uniform, Values

aten: Any = torch.ops.aten

_FILLS = {
    aten.masked_fill.Scalar,
    aten.masked_fill.Tensor,
    aten.where.ScalarOther,
    aten.where.self,
}
_WIDEST = 256
"""Of a head: the kernel keeps a block of queries and of results on the stack."""


@dataclass(frozen=True)
class _Attention:
    """Attention as a graph computes it."""

    node: Node
    q: Node
    k: Node
    v: Node
    mask: Node | None
    scale: float
    causal: bool = False
    by_hand: bool = False
    """Whether several nodes compute it."""
    turned: bool = False
    """Whether the keys are [..., d, keys]."""
    grouped: bool = False
    """Whether a key head may serve several heads."""
    fill: float = -math.inf
    """What scores become where a mask of bool is false."""
    inverted: bool = False
    """Whether that is where it is true."""
    undefined: bool = False
    """Whether a query without keys gives NaN, and not 0."""


def run(module: GraphModule) -> int:
    """Rewrite the attention of a graph."""
    module.graph.eliminate_dead_code()  # weights that nobody asks for are no other use of them
    aliases, values = Aliases(module), Values(module)
    count = 0
    for node in list(module.graph.nodes):
        attention = _attention(node, values) if node.op == "call_function" else None
        if attention:
            attention = _shared_keys(attention)
        if attention and _fits(attention) and not _is_written(attention, aliases):
            _rewrite(module, attention)
            count += 1
    if count:
        drop_proved(module)
    return count


def _attention(node: Node, values: Values) -> _Attention | None:
    """What a node computes if it may be attention."""
    if node.target is aten.scaled_dot_product_attention.default:
        return _scaled(node)
    if node.target in {aten.matmul.default, aten.bmm.default}:
        return _by_hand(node, values)
    return None


def _scaled(node: Node) -> _Attention | None:
    names = ["query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"]
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    width = _shape(given["query"])[-1]
    scale = given.get("scale")
    if given.get("dropout_p", 0.0) != 0 or not isinstance(width, int) or width < 1:
        return None
    if scale is not None and not isinstance(scale, int | float):
        return None
    return _Attention(
        node,
        given["query"],
        given["key"],
        given["value"],
        given.get("attn_mask"),
        1 / math.sqrt(width) if scale is None else float(scale),
        causal=bool(given.get("is_causal", False)),
        grouped=bool(given.get("enable_gqa", False)),
    )


def _by_hand(node: Node, values: Values) -> _Attention | None:
    """Attention whose last product is a node."""
    weights, v = _node(node.args[0]), _node(node.args[1])
    if weights is None or v is None:
        return None
    softmax = _skip(weights, node)
    if softmax is None or not _is_softmax(softmax):
        return None
    start = _Attention(node, node, node, v, None, 1.0, by_hand=True, turned=True, undefined=True)
    scores = _inner(softmax, softmax.args[0])
    return _masked(start, scores, values) if scores is not None else None


def _masked(attention: _Attention, scores: Node, values: Values) -> _Attention | None:
    """Look for what was done to scores, from the last to the first."""
    args: Any = scores.args
    if scores.target is aten.add.Tensor and not scores.kwargs:
        for inner, mask in ((args[0], args[1]), (args[1], args[0])):
            within = _inner(scores, inner)
            if within is None or _node(mask) is None or not is_float(value(mask)):
                continue
            product = _product(modified(attention, mask=mask), within)
            if product is not None:
                return product
        return None
    if scores.target in _FILLS:
        filled = scores.target in {aten.masked_fill.Scalar, aten.masked_fill.Tensor}
        inner, mask, other = args if filled else (args[1], args[0], args[2])
        within, fill, mask_value = _inner(scores, inner), values.get(other), value(mask)
        if within is None or not isinstance(fill, Uniform) or mask_value is None:
            return None
        if mask_value.dtype is not torch.bool or math.isnan(fill.number):
            return None
        own = modified(attention, mask=mask, fill=float(fill.number), inverted=filled)
        return _product(own, within)
    return _product(attention, scores)


def _product(attention: _Attention, scores: Node) -> _Attention | None:
    """Look for the product of queries and keys, which may be scaled by a number."""
    args: Any = scores.args
    scale = 1.0
    if scores.target in {aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar}:
        if scores.kwargs or not isinstance(args[1], int | float) or not args[1]:
            return None
        by = float(args[1])
        scale = by if scores.target in {aten.mul.Tensor, aten.mul.Scalar} else 1 / by
        inner = _inner(scores, args[0])
        if inner is None:
            return None
        scores, args = inner, inner.args
    if scores.target not in {aten.matmul.default, aten.bmm.default} or scores.kwargs:
        return None
    q, k = _node(args[0]), _node(args[1])
    return modified(attention, q=q, k=k, scale=scale) if q is not None and k is not None else None


def _is_softmax(node: Node) -> bool:
    """Whether a node is softmax over the last dimension, in float32."""
    args: Any = node.args
    tensor = value(node)
    if node.target not in {aten.softmax.int, aten._softmax.default} or tensor is None:
        return False
    types = {None, False, torch.float32}
    last = args[1] in {-1, tensor.dim() - 1}
    return last and set(args[2:]) <= types and set(node.kwargs.values()) <= types


def _skip(node: Node, user: Node) -> Node | None:
    """What a node has from before operators that do nothing, if they have only one user each."""
    while [each for each in node.users if not asserts_type(each)] == [user]:
        args: Any = node.args
        nothing = (
            is_idle_dropout(node)
            or node.target in {aten.detach.default, aten.alias.default}
            or (_is_cast(node) and _same_type(node, args[0]))
        )
        if not nothing:
            return node
        node, user = args[0], node
    return None


def _inner(user: Node, argument: Any) -> Node | None:
    """The node that an argument is, if nothing else uses it."""
    node = _node(argument)
    return _skip(node, user) if node is not None else None


def _is_cast(node: Node) -> bool:
    return node.target in {aten.to.dtype, aten._to_copy.default, aten.type_as.default}


def _same_type(node: Node, other: Any) -> bool:
    mine, its = value(node), value(other)
    return mine is not None and its is not None and mine.dtype is its.dtype


def _node(argument: Any) -> Node | None:
    return argument if isinstance(argument, Node) and value(argument) is not None else None


def _shape(node: Node) -> list[Any]:
    tensor = value(node)
    return list(tensor.shape) if tensor is not None else []


def _fits(attention: _Attention) -> bool:
    """Whether all shapes and types are what the operator takes."""
    tensors = [attention.q, attention.k, attention.v, attention.node]
    q, k, v, result = map(_shape, tensors)
    if not any(
        all(is_float(value(each), dtype) for each in tensors) for dtype in _types(attention)
    ):
        return False
    if len(q) not in {3, 4} or not len(q) == len(k) == len(v) == len(result):
        return False
    if attention.turned:
        k[-2:] = k[-1], k[-2]
    if len(q) == 3:
        q, k, v = ([each[0], 1, *each[1:]] for each in (q, k, v))
    if not all(isinstance(each, int) and 0 < each <= _WIDEST for each in (q[3], v[3])):
        return False
    together = [(q[0], k[0]), (k[0], v[0]), (k[1], v[1]), (q[3], k[3]), (k[2], v[2])]
    if attention.grouped and q[1] != k[1]:
        if not (isinstance(q[1], int) and isinstance(k[1], int) and k[1] and q[1] % k[1] == 0):
            return False
    else:
        together.append((q[1], k[1]))
    if not all(is_same(one, other) for one, other in together):
        return False
    return attention.mask is None or _mask_fits(attention, [*q[:3], k[2]], len(result))


def _types(attention: _Attention) -> set[torch.dtype]:
    """What all tensors of an attention may be of."""
    queries: Any = _shape(attention.q)[-2:-1]
    few = all(isinstance(each, int) and each <= FEW_QUERIES for each in queries)
    if few and not attention.by_hand and not attention.causal:
        return {torch.float32, torch.bfloat16}
    return {torch.float32}


def _mask_fits(attention: _Attention, scores: list[Any], dims: int) -> bool:
    """Whether a mask is broadcast to the scores, and not the scores to the mask."""
    mask, q = value(attention.mask), value(attention.q)
    if mask is None or q is None or mask.device.type != "cpu" or mask.layout is not torch.strided:
        return False
    if mask.dtype not in {torch.bool, torch.float32, q.dtype}:
        return False
    if mask.dim() > dims:
        return False
    own = _with_heads(list(mask.shape), dims)
    return all(
        is_same(each, 1) or is_same(each, whole) for each, whole in zip(own, scores, strict=True)
    )


def _with_heads(shape: list[Any], dims: int) -> list[Any]:
    """The shape of a mask with four dimensions."""
    shape = [1] * (dims - len(shape)) + shape
    return [shape[0], 1, *shape[1:]] if dims == 3 else shape


def _shared_keys(attention: _Attention) -> _Attention:
    """Attention with keys and values before they were repeated for heads that share them."""
    upright = _turned_back(attention.k) if attention.turned else attention.k
    k = _repeated(upright) if upright is not None else None
    v = _repeated(attention.v)
    if k is None or v is None or k[1] != v[1]:
        return attention
    return modified(attention, k=k[0], v=v[0], grouped=True, turned=False)


def _turned_back(node: Node) -> Node | None:
    """What a node has the last two of four dimensions of, in the other order."""
    args: Any = node.args
    if len(_shape(node)) != 4:
        return None
    if node.target is aten.transpose.int and {each % 4 for each in args[1:3]} == {2, 3}:
        return _node(args[0])
    if node.target is aten.permute.default and [each % 4 for each in args[1]] == [0, 1, 3, 2]:
        return _node(args[0])
    return _node(args[0]) if node.target is aten.mT.default else None


def _repeated(node: Node) -> tuple[Node, int] | None:
    """What was repeated along the second dimension, each part after another, and how often."""
    node = _without_copies(node)
    args: Any = node.args
    shape = _shape(node)
    if node.target is aten.repeat_interleave.self_int and len(shape) == 4:
        dim = args[2] if len(args) > 2 else node.kwargs.get("dim")
        times = args[1] if isinstance(args[1], int) else None
        return (args[0], times) if dim in {1, -3} and times is not None else None
    if node.target is aten.flatten.using_ints and len(_shape(args[0])) == 5:
        if tuple(args[1:]) not in {(1, 2), (1, -3), (-4, -3), (-4, 2)}:
            return None
    elif node.target not in {aten.reshape.default, aten.view.default} or len(shape) != 4:
        return None
    given = _node(args[0])
    expanded = _without_copies(given) if given is not None else None
    if expanded is None or expanded.target is not aten.expand.default:
        return None
    five: Any = _node(expanded.args[0])
    whole = _shape(expanded)
    if five is None or five.target is not aten.unsqueeze.default or five.args[1] not in {2, -3}:
        return None
    source, times = five.args[0], whole[2]
    unrepeated = [*whole[:2], *whole[3:]]
    if not isinstance(times, int) or not are_same(unrepeated, _shape(source)):
        return None
    merged = [whole[0], whole[1] * times, *whole[3:]]
    return (source, times) if are_same(merged, shape) else None


def _without_copies(node: Node) -> Node:
    """What a node is a copy of."""
    copies = {aten.clone.default, aten.contiguous.default}
    while node.target in copies and (source := _node(node.args[0])) is not None:
        node = source
    return node


def _is_written(attention: _Attention, aliases: Aliases) -> bool:
    """Whether what is read may change from the first of the nodes to the last, which reads then.

    Keys and values often lie in a cache that is written before them.
    """
    mask = [attention.mask] if attention.mask else []
    given = [attention.q, attention.k, attention.v, *mask]
    if not any(map(aliases.written, given)):
        return False
    within = {attention.node}
    pending = [attention.node]
    while pending:
        before = [each for each in pending.pop().all_input_nodes if each not in given]
        pending += [each for each in before if each not in within]
        within.update(before)
    memory = {aliases.root(each) for each in given}
    started = False
    for node in attention.node.graph.nodes:
        if node is attention.node:
            return False
        started = started or node in within
        if started and not memory.isdisjoint(map(aliases.root, written_by(node))):
            return True
    return True


def _rewrite(module: GraphModule, attention: _Attention) -> None:
    three = len(_shape(attention.q)) == 3
    with module.graph.inserting_before(attention.node):
        k = attention.k
        if attention.turned:
            k = add(module, aten.transpose.int, k, -2, -1)
        q, k, v = (
            add(module, aten.unsqueeze.default, each, 1) if three else each
            for each in (attention.q, k, attention.v)
        )
        mask = attention.mask
        if mask is not None:
            for _ in range((3 if three else 4) - len(_shape(mask))):
                mask = add(module, aten.unsqueeze.default, mask, 0)
            if three:
                mask = add(module, aten.unsqueeze.default, mask, 1)
            if attention.inverted:
                mask = add(module, aten.logical_not.default, mask)
        new = add(
            module,
            OP,
            q,
            k,
            v,
            mask,
            attention.scale,
            attention.causal,
            attention.fill,
            attention.undefined,
        )
        if three:
            new = add(module, aten.squeeze.dim, new, 1)
    replace(attention.node, new)
