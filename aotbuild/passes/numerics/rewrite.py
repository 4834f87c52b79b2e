"""Operators that Inductor decomposes into wrong ones are decomposed here.

With torch 2.13, ``softshrink`` of NaN becomes 0, and a division of floats that is rounded down
becomes the floor of a rounded quotient: ``1.0 // 0.1`` is 9, as in Python, and not 10. A sum of
truth values with a factor becomes one of integers, for which the memory of its result is too small.
The place of the smallest or largest of a whole tensor is counted in the order in which it lies in
memory, which that of a transposed one is not.
``test_stock_inductor_is_still_wrong`` notices when one can go.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import add, in_all_graphs, replace, value

aten: Any = torch.ops.aten

_SOFTSHRINK = {aten.softshrink.default}
_DIVISIONS = {aten.div.Tensor_mode, aten.div.Scalar_mode}
_FLOOR_DIVISIONS = {aten.floor_divide.default, aten.floor_divide.Scalar}
_PLACES = {aten.argmin.default, aten.argmax.default}
_INDEXED_SUMS = {aten.index_add.default, aten.index_add_.default}
_LOW = {torch.bfloat16, torch.float16}


def run(module: GraphModule) -> int:
    """Rewrite a graph, and those of its loops and branches.

    Returns:
        How many operators were replaced.
    """
    return in_all_graphs(module, _rewrite)


def _rewrite(module: GraphModule) -> int:
    count = 0
    for node in list(module.graph.nodes):
        with module.graph.inserting_before(node):
            new = _replacement(module, node)
        if new is not None:
            replace(node, new)
            count += 1
    return count


def _replacement(module: GraphModule, node: Node) -> Node | None:
    result = value(node)
    if node.op != "call_function" or result is None or result.device.type != "cpu":
        return None
    args: Any = node.args
    kwargs: Any = node.kwargs
    if node.target is aten.add.Tensor and result.dtype is torch.bool:
        return _any_of(module, args[0], args[1], kwargs.get("alpha", 1))
    if node.target in _PLACES:
        return _place_in_all(module, node)
    if not result.dtype.is_floating_point:
        return None
    if node.target in _INDEXED_SUMS and result.dtype is torch.bfloat16:
        return _sum_by_index(module, node)
    if node.target in _SOFTSHRINK:
        return _softshrink(module, *args, **kwargs)
    rounded_down = kwargs.get("rounding_mode") == "floor" or args[2:] == ("floor",)
    if node.target in _FLOOR_DIVISIONS or (node.target in _DIVISIONS and rounded_down):
        return _floor_division(module, args[0], args[1], result)
    return None


def _any_of(module: GraphModule, a: Any, b: Any, alpha: float) -> Node | None:
    """The sum of truth values, of which Inductor makes integers where there is a factor."""
    if alpha == 1 or not isinstance(a, Node) or not isinstance(b, Node):
        return None
    some = b if alpha else add(module, aten.zeros_like.default, b)
    return add(module, aten.logical_or.default, a, some)


def _given(node: Node, *names: str) -> dict[str, Any]:
    """The arguments of an operator by name, of which some may have been given by place."""
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def _place_in_all(module: GraphModule, node: Node) -> Node | None:
    """The place of the smallest or largest of all elements, of which a row is made first."""
    given = _given(node, "self", "dim", "keepdim")
    x: Any = given["self"]
    before = value(x)
    if given.get("dim") is not None or before is None or before.dim() < 2:
        return None
    target: Any = node.target
    place = add(module, target, add(module, aten.reshape.default, x, [-1]), 0)
    keepdim = bool(given.get("keepdim"))
    return add(module, aten.reshape.default, place, [1] * before.dim()) if keepdim else place


def _sum_by_index(module: GraphModule, node: Node) -> Node:
    """In float32: Inductor leaves the other one to torch, by a call that fails (torch 2.13)."""
    given = _given(node, "self", "dim", "index", "source")
    wide = [add(module, aten.to.dtype, given[name], torch.float32) for name in ("self", "source")]
    arguments = (wide[0], given["dim"], given["index"], wide[1])
    alpha = {"alpha": given["alpha"]} if "alpha" in given else {}
    total = add(module, aten.index_add.default, *arguments, kwargs=alpha)
    rounded = add(module, aten.to.dtype, total, torch.bfloat16)
    if node.target is aten.index_add.default:
        return rounded
    return add(module, aten.copy_.default, given["self"], rounded)


def _softshrink(module: GraphModule, x: Node, lambd: float = 0.5) -> Node:
    above = add(module, aten.gt.Scalar, x, lambd)
    below = add(module, aten.lt.Scalar, x, -lambd)
    less, more = add(module, aten.sub.Scalar, x, lambd), add(module, aten.add.Scalar, x, lambd)
    nothing = add(module, aten.mul.Scalar, x, 0.0)  # NaN of NaN
    rest = add(module, aten.where.self, below, more, nothing)
    return add(module, aten.where.self, above, less, rest)


def _floor_division(module: GraphModule, a: Any, b: Any, result: torch.Tensor) -> Node:
    """As ATen divides on the CPU: by the remainder, which is exact."""
    dtype = torch.float32 if result.dtype in _LOW else result.dtype

    def of(argument: Any) -> Node:
        if not isinstance(argument, Node) or value(argument) is None:
            return add(module, aten.full.default, [], argument, kwargs={"dtype": dtype})
        same = value(argument).dtype is dtype  # type: ignore[union-attr]
        return argument if same else add(module, aten.to.dtype, argument, dtype)

    def call(target: Any, *args: Any) -> Node:
        return add(module, target, *args)

    a, b = of(a), of(b)
    quotient = call(aten.div.Tensor, a, b)
    rest = call(aten.fmod.Tensor, a, b)
    # The vectorised remainder is not one where the quotient overflows.
    beyond = call(
        aten.logical_and.default,
        call(aten.isinf.default, quotient),
        call(aten.logical_not.default, call(aten.isinf.default, a)),
    )
    whole = call(aten.where.self, beyond, a, call(aten.sub.Tensor, a, rest))
    exact = call(aten.div.Tensor, whole, b)
    opposite = call(
        aten.logical_and.default,
        call(aten.ne.Scalar, rest, 0),
        call(aten.ne.Tensor, call(aten.lt.Scalar, b, 0), call(aten.lt.Scalar, rest, 0)),
    )
    exact = call(aten.where.self, opposite, call(aten.sub.Scalar, exact, 1), exact)
    down = call(aten.floor.default, exact)
    too_low = call(aten.gt.Scalar, call(aten.sub.Tensor, exact, down), 0.5)
    down = call(aten.where.self, too_low, call(aten.add.Scalar, down, 1), down)
    zero = call(aten.copysign.Tensor, call(aten.zeros_like.default, down), quotient)
    down = call(aten.where.self, call(aten.eq.Scalar, exact, 0), zero, down)
    down = call(aten.where.self, call(aten.eq.Scalar, b, 0), quotient, down)
    return down if dtype is result.dtype else call(aten.to.dtype, down, result.dtype)
