"""What a traced program does with the values of its inputs, as far as its graph tells.

Values other than those of the example are only tried where they cannot end the process or ask for
any amount of memory: an index out of range is an exception in eager torch, but a size of 2**40 or
the division of the smallest integer by -1 is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export.graph_signature import InputKind, TensorArgument


@dataclass(frozen=True)
class Uses:
    """What becomes of the values of one input."""

    fixed: bool = False
    """Whether they are indices, sizes, divisors or exponents, or go where it is not known."""
    converted: bool = False
    """Whether floating-point numbers become integers or integers floating-point numbers."""
    local: bool = True
    """Whether each element of a result depends on few elements, by operators that say what they do
    with infinities and NaN: no sums, in which the order matters."""


def input_uses(program: torch.export.ExportedProgram) -> list[Uses]:
    """What becomes of each tensor that a program takes, in their order."""
    names = [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    ]
    flow = _Flow()
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            flow.groups[node] = _Group({names.index(node.name)})
        elif node.op == "call_function":
            flow.follow(node)
    return [
        Uses(fixed=True)
        if i in flow.fixed
        else Uses(converted=i in flow.converted, local=i not in flow.combined)
        for i in range(len(names))
    ]


@dataclass(eq=False)
class _Group:
    """The inputs that values in one piece of memory depend on."""

    inputs: set[int]


@dataclass
class _Flow:
    """Which inputs the values so far depend on."""

    groups: dict[torch.fx.Node, _Group] = field(default_factory=dict)
    fixed: set[int] = field(default_factory=set)
    converted: set[int] = field(default_factory=set)
    combined: set[int] = field(default_factory=set)

    def follow(self, node: torch.fx.Node) -> None:
        """Note what an operator does with the values that it is given."""
        name = operator_name(node.target)
        schema = getattr(node.target, "_schema", None)
        aliased = schema is not None and any(r.alias_info is not None for r in schema.returns)
        before = [] if name in _SHAPES else node.all_input_nodes
        inputs = {i for each in before for i in self._of(each)}
        if aliased and before and before[0] in self.groups:
            group = self.groups[before[0]]  # it is a view, or was changed in place
            group.inputs |= inputs
        else:
            group = _Group(inputs)
        self.groups[node] = group
        if not inputs:
            return
        unknown = schema is None and name not in _LOCAL
        if unknown or name in _UNSAFE or _is_custom(node.target) or _divides(node, name):
            self.fixed |= inputs
        indices = list(_index_arguments(node, name))
        for each in before:
            if each in indices:
                self.fixed |= self._of(each)
            elif {_kind(each), _kind(node)} == {"int", "float"}:
                self.converted |= self._of(each)
        if not (aliased or name in _LOCAL or _is_pointwise(node.target)):
            self.combined |= inputs

    def _of(self, node: torch.fx.Node) -> set[int]:
        return self.groups[node].inputs if node in self.groups else set()


def operator_name(target: Any) -> str:
    """The name of an operator without its overload, such as ``aten.amax``; in place or not."""
    name = str(target)
    if isinstance(target, torch._ops.OpOverload):
        name = str(target.overloadpacket)
    elif callable(target):
        name = getattr(target, "__name__", name)
    return name.removesuffix("_") if not name.endswith("__") else name


def _is_pointwise(target: Any) -> bool:
    return torch.Tag.pointwise in getattr(target, "tags", ())


def _is_custom(target: Any) -> bool:
    return getattr(target, "namespace", "aten") not in {"aten", "prims"}


def _kind(node: torch.fx.Node) -> str:
    value = node.meta.get("val")
    value = value[0] if isinstance(value, tuple | list) and value else value
    if not isinstance(value, torch.Tensor):
        return ""
    real = value.is_floating_point() or value.is_complex()
    return "float" if real else "bool" if value.dtype is torch.bool else "int"


def _divides(node: torch.fx.Node, name: str) -> bool:
    """Whether an operator divides or shifts by integers that are not written in the program."""
    given = len(node.args) > 1 and isinstance(node.args[1], torch.fx.Node)
    return name in _DIVISIONS and given and _kind(node) == "int"


def _index_arguments(node: torch.fx.Node, name: str) -> Iterator[torch.fx.Node]:
    for position in _INDICES.get(name, ()):
        given = node.args[position] if position < len(node.args) else ()
        for each in given if isinstance(given, Sequence) else [given]:
            if isinstance(each, torch.fx.Node) and _kind(each) != "bool":
                yield each


_SHAPES = {
    f"aten.{name}"
    for name in (
        *("sym_size", "sym_stride", "sym_numel", "zeros_like", "ones_like", "empty_like"),
        *("_assert_tensor_metadata", "new_zeros", "new_ones", "new_empty"),
    )
}
"""Their results, if any, do not depend on the values."""

_INDICES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        ("aten.index", "aten.index_put", "aten._unsafe_index", "aten.take", "aten.embedding"), (1,)
    ),
    **dict.fromkeys(
        (
            *("aten.index_select", "aten.index_add", "aten.index_copy", "aten.index_fill"),
            *("aten.gather", "aten.scatter", "aten.scatter_add", "aten.scatter_reduce"),
            "aten.index_reduce",
        ),
        (2,),
    ),
    "aten.take_along_dim": (1,),
    "aten.embedding_bag": (1, 2),
    "aten._embedding_bag": (1, 2),
}
"""Where operators take indices."""

_DIVISIONS = {
    *("aten.div", "aten.floor_divide", "aten.remainder", "aten.fmod", "aten.true_divide"),
    *("aten.__lshift__", "aten.__rshift__", "aten.bitwise_left_shift", "aten.pow"),
    *("aten.bitwise_right_shift", "aten.divide"),
}

_UNSAFE = {
    f"aten.{name}"
    for name in (
        *("item", "_local_scalar_dense", "repeat_interleave", "bincount", "one_hot", "histc"),
        *("ctc_loss", "_ctc_loss", "nll_loss", "nll_loss_forward", "cross_entropy_loss"),
        *("nll_loss2d", "multi_margin_loss", "multilabel_margin_loss", "linspace", "arange"),
        *("segment_reduce", "_pack_padded_sequence", "_nested_tensor_from_mask", "full"),
    )
}
"""They take sizes or labels, or trust what they are given."""

_LOCAL = {
    "getitem",
    *(
        f"aten.{name}"
        for name in (
            *("floor_divide", "remainder", "fmod", "div", "_shape_as_tensor", "copy"),
            *("to", "_to_copy", "clone", "contiguous", "cat", "stack", "where", "flip", "roll"),
            *("max", "min", "amax", "amin", "aminmax", "argmax", "argmin", "any", "all", "maximum"),
            *(
                "minimum",
                "relu",
                "relu6",
                "elu",
                "selu",
                "celu",
                "silu",
                "mish",
                "gelu",
                "hardtanh",
            ),
            *(
                "leaky_relu",
                "hardsigmoid",
                "hardswish",
                "softplus",
                "logsigmoid",
                "sigmoid",
                "tanh",
            ),
            *("softsign", "tanhshrink", "hardshrink", "softshrink", "threshold", "log_sigmoid"),
            *("log_sigmoid_forward", "constant_pad_nd", "pad", "reshape", "flatten", "repeat"),
            *("lift_fresh_copy", "clamp", "clamp_min", "clamp_max", "gather", "index_select"),
            *("masked_fill", "type_as", "view_as", "max_pool1d", "max_pool2d", "square", "rsub"),
        )
    ),
}
"""Operators without the tag of pointwise ones that take no sums."""
