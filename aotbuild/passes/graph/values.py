"""What a graph shows of the values of tensors, whatever its inputs and parameters are.

A value is *known* if it does not depend on them: all elements of a tensor are the same number, or
they are integers between two bounds. Both follow the graph from tensors that are filled, or count,
through elementwise operators and views. Buffers count only where no state dict can replace them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.aliases import Aliases
from aotbuild.passes.graph.nodes import attribute, value
from aotbuild.passes.graph.sizes import holds as known_true

aten: Any = torch.ops.aten

_LARGEST = 1 << 22
"""Elements of a constant that is read."""


@dataclass(frozen=True)
class Uniform:
    """All elements are this number."""

    number: bool | int | float


@dataclass(frozen=True)
class Between:
    """All elements are integers from ``low`` to ``high``; a bound may be a dynamic size."""

    low: Any
    high: Any


Known = Uniform | Between

_FILLED = {
    aten.full.default: 1,
    aten.full_like.default: 1,
    aten.new_full.default: 2,
    aten.scalar_tensor.default: 0,
}
"""Operators that fill a tensor with one of their arguments, and its position."""
_ONES = {aten.ones.default, aten.ones_like.default, aten.new_ones.default}
_ZEROS = {aten.zeros.default, aten.zeros_like.default, aten.new_zeros.default}
_RANGES = {aten.arange.default, aten.arange.start, aten.arange.start_step}
_SAME_ELEMENTS = {
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.detach_.default,
    aten.lift_fresh.default,
    aten.lift_fresh_copy.default,
    aten.expand.default,
    aten.expand_as.default,
    aten.flatten.using_ints,
    aten.flip.default,
    aten.gather.default,
    aten.index.Tensor,
    aten.index_select.default,
    aten.movedim.int,
    aten.permute.default,
    aten.repeat.default,
    aten.reshape.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.t.default,
    aten.transpose.int,
    aten.unsqueeze.default,
    aten.view.default,
    aten._unsafe_view.default,
}
"""Operators whose results have elements of their first argument only."""
_CASTS = {
    aten.to.dtype,
    aten.to.dtype_layout,
    aten.to.device,
    aten.to.other,
    aten.type_as.default,
    aten._to_copy.default,
}
_ELEMENTWISE = {
    getattr(getattr(aten, name), kind)
    for name in (
        *("add", "sub", "rsub", "mul", "div", "neg", "abs", "eq", "ne", "lt", "le", "gt", "ge"),
        *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not", "__and__", "__or__"),
        *("logical_and", "logical_or", "logical_xor", "logical_not", "minimum", "maximum"),
        *("where", "masked_fill", "clamp", "exp", "pow"),
    )
    for kind in getattr(aten, name).overloads()
    if "out" not in kind
    and kind
    in {
        "default",
        "Tensor",
        "Scalar",
        "self",
        "Tensor_Scalar",
        "ScalarSelf",
        "ScalarOther",
        "Scalar_Tensor",
    }
}
"""Operators that are computed for one element where all arguments are uniform."""
_COMPARISONS = {
    getattr(getattr(aten, name), kind): name
    for name in ("eq", "ne", "lt", "le", "gt", "ge")
    for kind in ("Tensor", "Scalar")
}


class Values:
    """The known values of a graph."""

    def __init__(self, module: GraphModule) -> None:
        self._module = module
        self._replaceable = set(module.state_dict())
        self._known: dict[Node, Known | None] = {}
        aliases = Aliases(module)
        for node in module.graph.nodes:
            self._known[node] = None if aliases.written(node) else self._of(node)

    def get(self, argument: Any) -> Known | None:
        """What is known of an argument of a node."""
        if isinstance(argument, Node):
            return self._known.get(argument)
        return Uniform(argument) if isinstance(argument, bool | int | float) else None

    def is_uniform(self, argument: Any, number: float) -> bool:
        """Whether all elements are known to be a number."""
        known = self.get(argument)
        return isinstance(known, Uniform) and known.number == number

    def _of(self, node: Node) -> Known | None:
        if value(node) is None and node.op != "get_attr":
            return None
        if node.op == "get_attr":
            return self._of_constant(node)
        if node.op != "call_function":
            return None
        args: Any = node.args
        if node.target in _FILLED:
            position = _FILLED[node.target]
            return _cast(self.get(args[position]) if len(args) > position else None, node)
        if node.target in _ONES or node.target in _ZEROS:
            return _cast(Uniform(int(node.target in _ONES)), node)
        if node.target in _RANGES:
            return _range(node)
        if node.target in _SAME_ELEMENTS:
            return self.get(args[0])
        if node.target in _CASTS:
            return _cast(self.get(args[0]), node)
        if node.target in _ELEMENTWISE:
            return self._of_elements(node)
        return None

    def _of_constant(self, node: Node) -> Known | None:
        constant = attribute(self._module, node)
        if (
            constant is None
            or str(node.target) in self._replaceable
            or isinstance(constant, torch.nn.Parameter)
            or constant.device.type != "cpu"
            or constant.layout is not torch.strided
            or constant.dtype.is_complex
            or not 0 < constant.numel() <= _LARGEST
        ):
            return None
        low, high = constant.min().item(), constant.max().item()
        if low == high:
            return Uniform(low)
        if constant.dtype.is_floating_point or constant.dtype is torch.bool:
            return None
        return Between(low, high)

    def _of_elements(self, node: Node) -> Known | None:
        args: Any = node.args
        known = [self.get(each) for each in args]
        if not node.kwargs and all(isinstance(each, Uniform) for each in known):
            return self._computed(node, known)
        if node.target in _COMPARISONS:
            holds = _compared(_COMPARISONS[node.target], *known)
            if holds is None and _same(args[0], args[1]) and _is_integer(args[0]):
                holds = _COMPARISONS[node.target] in {"eq", "le", "ge"}
            return None if holds is None else Uniform(holds)
        if node.target in {aten.add.Tensor, aten.add.Scalar, aten.sub.Tensor, aten.sub.Scalar}:
            return _shifted(node, *known[:2])
        if value(node) is not None and value(node).dtype is torch.bool:  # type: ignore[union-attr]
            return _decided(node, known)
        return None

    def _computed(self, node: Node, known: list[Any]) -> Known | None:
        """What an operator gives for one element, with the types and dimensions of all."""

        def one(argument: Any, its: Uniform) -> Any:
            tensor = value(argument)
            if tensor is None:
                return its.number
            return torch.full([1] * tensor.dim(), its.number, dtype=tensor.dtype)

        args: Any = node.args
        result: Any = value(node)
        target: Any = node.target
        try:
            result = target(*map(one, args, known))
        except RuntimeError:
            return None
        return Uniform(result.item()) if result.dtype is result.dtype else None


def _decided(node: Node, known: list[Known | None]) -> Known | None:
    """What one operand decides alone: ``x and False``, ``x or True``."""
    numbers = [each.number for each in known if isinstance(each, Uniform)]
    name = str(node.target).split(".")[1].strip("_").removeprefix("bitwise_")
    name = name.removeprefix("logical_")
    if name == "and" and any(not number for number in numbers):
        return Uniform(False)  # noqa: FBT003
    if name == "or" and any(numbers):
        return Uniform(True)  # noqa: FBT003
    return None


def _cast(known: Known | None, node: Node) -> Known | None:
    """What is known after a conversion to the type of a node."""
    tensor = value(node)
    if known is None or tensor is None or tensor.dtype.is_complex:
        return None
    if isinstance(known, Between):
        # Narrower integers would wrap around, and floats are not integers.
        return known if tensor.dtype in {torch.int64, torch.int32} else None
    try:
        return Uniform(torch.tensor(known.number).to(tensor.dtype).item())
    except (RuntimeError, OverflowError):
        return None


def _range(node: Node) -> Known | None:
    args: Any = node.args
    start, end = (0, args[0]) if len(args) == 1 else args[:2]
    step = args[2] if len(args) > 2 else 1
    start, end = (_number(each) for each in (start, end))
    tensor = value(node)
    if start is None or end is None or step != 1 or tensor is None:
        return None
    return Between(start, end - 1) if tensor.dtype is torch.int64 else None


def _number(argument: Any) -> Any:
    """An integer, or a dynamic size."""
    number = argument.meta.get("val") if isinstance(argument, Node) else argument
    is_integer = isinstance(number, int | torch.SymInt) and not isinstance(number, bool)
    return number if is_integer else None


def _bounds(known: Known | None) -> tuple[Any, Any] | None:
    if isinstance(known, Between):
        return known.low, known.high
    if isinstance(known, Uniform) and not isinstance(known.number, float):
        return int(known.number), int(known.number)
    return None


def _compared(name: str, one: Known | None, other: Known | None) -> bool | None:
    """The result of a comparison that the bounds decide."""
    mine, its = _bounds(one), _bounds(other)
    if mine is None or its is None:
        return None
    (low, high), (low2, high2) = mine, its
    below, not_above = known_true(high < low2), known_true(high <= low2)
    above, not_below = known_true(low > high2), known_true(low >= high2)
    answers = {
        "lt": (below, not_below),
        "le": (not_above, above),
        "gt": (above, not_above),
        "ge": (not_below, below),
        "eq": (False, below or above),
        "ne": (below or above, False),
    }
    yes, no = answers[name]
    return True if yes else False if no else None


def _shifted(node: Node, one: Known | None, other: Known | None) -> Known | None:
    """Bounds after a sum or difference of integers."""
    mine, its = _bounds(one), _bounds(other)
    tensor = value(node)
    if mine is None or its is None or tensor is None or tensor.dtype is not torch.int64:
        return None
    if len(node.args) > 2 or node.kwargs:
        return None
    if node.target in {aten.sub.Tensor, aten.sub.Scalar}:
        return Between(mine[0] - its[1], mine[1] - its[0])
    return Between(mine[0] + its[0], mine[1] + its[1])


def _is_integer(argument: Any) -> bool:
    """Whether a tensor has no elements that are unequal to themselves."""
    tensor = value(argument)
    return tensor is not None and not (tensor.dtype.is_floating_point or tensor.dtype.is_complex)


def _same(one: Any, other: Any) -> bool:
    """Whether two arguments are computed alike, element by element, from the same tensors."""
    if one is other:
        return True
    if isinstance(one, Node) and isinstance(other, Node):
        fixed = one.target in _RANGES or one.target in _SAME_ELEMENTS or one.target in _ELEMENTWISE
        return (
            one.op == other.op == "call_function"
            and one.target == other.target
            and fixed
            and one.kwargs == other.kwargs
            and len(one.args) == len(other.args)
            and all(map(_same, one.args, other.args))
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)
