"""Recurrent layers become one product for all steps, and a loop over packed weights.

Why: with few rows a step is bound by how fast the recurrent weights are read. Those of a block of
units lie together for all gates, are read once per step front to back, and what the gates make of
the products follows while these are in the first cache. The products with the inputs do not depend
on the steps, and are one large product. Two LSTM layers of 128 units over 80 steps take 0.6 of the
time of oneDNN's. Nothing of the layer is unrolled, so the number of steps may be dynamic.

Rewritten are LSTM, GRU and simple recurrent layers of float32 on the CPU with constant weights, in
any number of layers and one or two directions, with or without biases; not with projections, and
not with dropout between layers.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import _prims_common as prims
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.derived import derive
from aotbuild.passes.graph.nodes import add, attribute, is_float, value
from aotbuild.passes.linear import operator as packed_linear
from aotbuild.passes.recurrent.operator import BLOCK, KINDS, OP

aten: Any = torch.ops.aten

_OPERATORS = {
    aten.lstm.input: "Lstm",
    aten.gru.input: "Gru",
    aten.rnn_tanh.input: "RnnTanh",
    aten.rnn_relu.input: "RnnRelu",
}


_MOST_ROWS = 15
"""With more, a step is a product of matrices, in which oneDNN is as fast or faster."""


@dataclass(frozen=True)
class _Layers:
    """Recurrent layers as a graph computes them."""

    node: Node
    kind: str
    inputs: Node
    states: list[Node]
    """The first states, and cells if the kind has them: [layers * directions, rows, units]."""
    parameters: list[list[Node]]
    """For each layer and direction: weights for inputs and states, [gates * units, ...], and
    biases."""
    directions: int
    rows_first: bool


def run(module: GraphModule) -> int:
    """Rewrite the recurrent layers of a graph."""
    count = 0
    for node in list(module.graph.nodes):
        layers = _layers(node) if node.target in _OPERATORS else None
        if layers and _fits(module, layers):
            _rewrite(module, layers)
            count += 1
    return count


def _layers(node: Node) -> _Layers | None:
    """The layers that a node computes."""
    kind = _OPERATORS[node.target]
    args: Any = node.args
    if len(args) != 9 or node.kwargs:
        return None
    inputs, states, parameters, has_biases, layers, dropout, train, bidirectional, rows_first = args
    states = list(states) if isinstance(states, list | tuple) else [states]
    directions = 2 if bidirectional else 1
    each = 4 if has_biases else 2
    if len(parameters) != layers * directions * each or (train and dropout and layers > 1):
        return None
    return _Layers(
        node,
        kind,
        inputs,
        states,
        [list(parameters[i : i + each]) for i in range(0, len(parameters), each)],
        directions,
        bool(rows_first),
    )


def _fits(module: GraphModule, layers: _Layers) -> bool:
    """Whether all types are as needed, and all weights constant."""
    if not all(is_float(value(each)) for each in (layers.inputs, *layers.states)):
        return False
    inputs: Any = value(layers.inputs)
    width = inputs.shape[-1]
    if inputs.dim() != 3 or not isinstance(width, int):
        return False
    rows = inputs.shape[0 if layers.rows_first else 1]
    if isinstance(rows, int) and rows > _MOST_ROWS:
        return False
    if any(user.target is not operator.getitem for user in layers.node.users):
        return False
    gates = KINDS[layers.kind].gates
    for i, parameters in enumerate(layers.parameters):
        constants = [attribute(module, each) for each in parameters]
        if not all(is_float(each) for each in constants):
            return False
        shapes = [list(each.shape) for each in constants if each is not None]
        units = shapes[1][-1]
        last = width if i < layers.directions else layers.directions * units
        if shapes[:2] != [[gates * units, last], [gates * units, units]] or units == 0:
            return False
        if any(shape != [gates * units] for shape in shapes[2:]):
            return False
    return True


def _rewrite(module: GraphModule, layers: _Layers) -> None:
    states: list[Node] = []
    cells: list[Node] = []
    with module.graph.inserting_before(layers.node):
        inputs = layers.inputs
        for first in range(0, len(layers.parameters), layers.directions):
            outputs = []
            for i in range(first, first + layers.directions):
                output, state, cell = _direction(module, layers, inputs, i)
                outputs.append(output)
                states.append(state)
                cells += [cell] if cell else []
            inputs = add(module, aten.cat.default, outputs, -1) if len(outputs) > 1 else outputs[0]
        results = [inputs, add(module, aten.stack.default, states)]
        if cells:
            results.append(add(module, aten.stack.default, cells))
    for user in list(layers.node.users):
        index: Any = user.args[1]
        result = results[index]
        if index == 0 and layers.rows_first and _has_steps_first(user) and _shows_order(user):
            with module.graph.inserting_before(user):
                result = _with_steps_first(module, result)
        user.replace_all_uses_with(result)
        module.graph.erase_node(user)
    module.graph.erase_node(layers.node)
    module.graph.eliminate_dead_code()


def _has_steps_first(output: Node) -> bool:
    """Whether torch would give an output in the order of the steps, though rows are its first."""
    tensor = value(output)
    return tensor is not None and prims.is_contiguous_or_false(tensor.transpose(0, 1))


def _shows_order(output: Node) -> bool:
    """Whether its order in memory may show: in a result, or to a view that needs it."""
    pending = [output]
    while pending:
        for user in pending.pop().users:
            if not isinstance(user.target, torch._ops.OpOverload):
                return True
            if user.target in {aten.view.default, aten.as_strided.default}:
                return True
            if any(each.alias_info for each in user.target._schema.returns):
                pending.append(user)
    return False


def _with_steps_first(module: GraphModule, output: Node) -> Node:
    """An output with rows first, in the order of the steps."""
    turned = add(module, aten.permute.default, output, [1, 0, 2])
    contiguous: dict[str, Any] = {"memory_format": torch.contiguous_format}
    turned = add(module, aten.clone.default, turned, kwargs=contiguous)
    return add(module, aten.permute.default, turned, [1, 0, 2])


def _direction(
    module: GraphModule, layers: _Layers, inputs: Node, index: int
) -> tuple[Node, Node, Node | None]:
    """One direction of a layer: the states of all steps, the last one, and the last cell."""
    own = KINDS[layers.kind]
    weight, recurrent, *biases = layers.parameters[index]
    shape: Any = value(recurrent)
    units = shape.shape[1] if shape is not None else _units(module, recurrent)
    blocks = -(-units // BLOCK)
    reverse = index % layers.directions == 1
    bias, apart = _biases(module, layers.kind, biases, units)
    product = add(
        module,
        packed_linear.OP,
        inputs,
        _packed_weight(module, weight, own.gates, units),
        bias,
        blocks * own.gates * BLOCK,
        "",
    )
    state, *cell = (add(module, aten.select.int, each, 0, index) for each in layers.states)
    flat = add(
        module,
        OP,
        product,
        _packed_recurrent(module, recurrent, own.gates, units),
        apart,
        state,
        cell[0] if cell else None,
        layers.kind,
        reverse,
        layers.rows_first,
    )
    sizes = [_size(module, inputs, dim) for dim in (0, 1)]
    states = flat
    last = None
    if own.cell:
        end = _times(module, _times(module, sizes[0], sizes[1]), units)
        states = add(module, aten.slice.Tensor, flat, 0, 0, end)
        rest = add(module, aten.slice.Tensor, flat, 0, end)
        rows = sizes[0 if layers.rows_first else 1]
        last = add(module, aten.view.default, rest, [rows, units])
    output = add(module, aten.view.default, states, [*sizes, units])
    steps = 1 if layers.rows_first else 0
    return output, add(module, aten.select.int, output, steps, 0 if reverse else -1), last


def _units(module: GraphModule, recurrent: Node) -> int:
    weight = attribute(module, recurrent)
    assert weight is not None  # noqa: S101
    return int(weight.shape[1])


def _blocked(module: GraphModule, rows: Node, gates: int, units: int, width: int) -> Node:
    """A weight [gates * units, width] as [gates, blocks, 16, width]."""
    blocks = -(-units // BLOCK)
    by_gate = add(module, aten.view.default, rows, [gates, units, width])
    if units % BLOCK:
        by_gate = add(module, aten.constant_pad_nd.default, by_gate, [0, 0, 0, -units % BLOCK])
    return add(module, aten.reshape.default, by_gate, [gates, blocks, BLOCK, width])


def _contiguous(module: GraphModule, node: Node) -> Node:
    kwargs: dict[str, Any] = {"memory_format": torch.contiguous_format}
    return add(module, aten.clone.default, node, kwargs=kwargs)


def _packed_weight(module: GraphModule, weight: Node, gates: int, units: int) -> Node:
    """The weight for inputs as panels of a product: [blocks * gates, width, 16]."""
    constant: Any = attribute(module, weight)
    width = constant.shape[1]
    blocked = _blocked(module, weight, gates, units, width)
    ordered = add(module, aten.permute.default, blocked, [1, 0, 3, 2])
    blocks = -(-units // BLOCK)
    panels = add(module, aten.reshape.default, ordered, [blocks * gates, width, BLOCK])
    return derive(_contiguous(module, panels), "packed")


def _packed_recurrent(module: GraphModule, weight: Node, gates: int, units: int) -> Node:
    """The weight for states: [blocks, units, gates, 16]."""
    blocked = _blocked(module, weight, gates, units, units)
    ordered = add(module, aten.permute.default, blocked, [1, 3, 0, 2])
    return derive(_contiguous(module, ordered), "packed")


def _biases(
    module: GraphModule, kind: str, biases: list[Node], units: int
) -> tuple[Node | None, Node | None]:
    """The bias of the product with the inputs, and that of the gates that stay apart."""
    if not biases:
        return None, None
    own = KINDS[kind]
    together, apart = biases[1], None
    if own.apart:
        end = (own.gates - own.apart) * units
        rest = add(module, aten.slice.Tensor, biases[1], 0, end)
        apart = _blocked_bias(module, rest, own.apart, units)
        summed = add(module, aten.slice.Tensor, biases[1], 0, 0, end)
        together = add(module, aten.constant_pad_nd.default, summed, [0, own.apart * units])
    both = add(module, aten.add.Tensor, biases[0], together)
    return _blocked_bias(module, both, own.gates, units), apart


def _blocked_bias(module: GraphModule, bias: Node, gates: int, units: int) -> Node:
    """A bias [gates * units] as [blocks * gates * 16]."""
    blocked = _blocked(module, bias, gates, units, 1)
    ordered = add(module, aten.permute.default, blocked, [1, 0, 2, 3])
    return derive(_contiguous(module, add(module, aten.reshape.default, ordered, [-1])), "bias")


def _size(module: GraphModule, node: Node, dim: int) -> Any:
    tensor: Any = value(node)
    size = tensor.shape[dim]
    return size if isinstance(size, int) else add(module, aten.sym_size.int, node, dim)


def _times(module: GraphModule, one: Any, other: Any) -> Any:
    if isinstance(one, int) and isinstance(other, int):
        return one * other
    return add(module, operator.mul, one, other)
