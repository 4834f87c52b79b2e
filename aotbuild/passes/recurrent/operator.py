"""The operator that is one direction of a recurrent layer, given its products with the inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from aotbuild.passes.template.operators import define

BLOCK = 16
"""Units that are computed together; ``simd/panels.h`` has it as ``kPanel``."""

_Gates = list[torch.Tensor]


@dataclass(frozen=True)
class Kind:
    """A kind of cell."""

    gates: int
    apart: int
    """How many of the last gates have the product with the state apart from that with the input."""
    cell: bool
    """Whether it has a second state."""
    next: Callable[[_Gates, _Gates, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    """The next state and cell, by the gates' products with the input and with the state, by the
    last state and cell."""


def _lstm(
    x: _Gates, h: _Gates, state: torch.Tensor, cell: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    del state
    i, f, g, o = (mine + its for mine, its in zip(x, h, strict=True))
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def _gru(
    x: _Gates, h: _Gates, state: torch.Tensor, cell: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    reset, update = (x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid()
    fresh = (x[2] + reset * h[2]).tanh()
    return fresh + update * (state - fresh), cell


def _rnn_tanh(
    x: _Gates, h: _Gates, state: torch.Tensor, cell: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    del state
    return (x[0] + h[0]).tanh(), cell


def _rnn_relu(
    x: _Gates, h: _Gates, state: torch.Tensor, cell: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    del state
    return (x[0] + h[0]).relu(), cell


KINDS = {
    "Lstm": Kind(4, 0, cell=True, next=_lstm),
    "Gru": Kind(3, 1, cell=False, next=_gru),
    "RnnTanh": Kind(1, 0, cell=False, next=_rnn_tanh),
    "RnnRelu": Kind(1, 0, cell=False, next=_rnn_relu),
}
"""The kinds of cells by their names in ``recurrent.h``."""


def _eager(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor | None,
    state: torch.Tensor,
    cell: torch.Tensor | None,
    kind: str,
    reverse: bool,  # noqa: FBT001
    rows_first: bool,  # noqa: FBT001
) -> torch.Tensor:
    own = KINDS[kind]
    blocks, units = weights.shape[:2]
    matrix = weights.permute(1, 2, 0, 3).reshape(units, own.gates, blocks * BLOCK)[..., :units]
    steps = inputs.transpose(0, 1) if rows_first else inputs
    blocked = steps.reshape(*steps.shape[:2], blocks, own.gates, BLOCK)
    x = blocked.transpose(-3, -2).flatten(-2)[..., :units]
    outputs = [state] * len(x)
    last = state if cell is None else cell
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        h = torch.einsum("bk,kgn->gbn", state, matrix)
        if bias is not None:
            h[own.gates - own.apart :] += (
                bias.reshape(blocks, own.apart, BLOCK)
                .transpose(0, 1)
                .reshape(own.apart, 1, -1)[..., :units]
            )
        state, last = own.next(list(x[t].unbind(-2)), list(h), state, last)
        outputs[t] = state
    states = torch.stack(outputs, 1 if rows_first else 0).flatten()
    return torch.cat([states, last.flatten()]) if own.cell else states


def _fake(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor | None,
    state: torch.Tensor,
    cell: torch.Tensor | None,
    kind: str,
    reverse: bool,  # noqa: FBT001
    rows_first: bool,  # noqa: FBT001
) -> torch.Tensor:
    del bias, cell, reverse, rows_first
    rows, units = state.shape[0], weights.shape[1]
    size = inputs.shape[0] * inputs.shape[1] * units
    return inputs.new_empty([size + rows * units if KINDS[kind].cell else size])


OP = define(
    "recurrent(Tensor inputs, Tensor weights, Tensor? bias, Tensor state, Tensor? cell, str kind, "
    "bool reverse, bool rows_first) -> Tensor",
    _eager,
    _fake,
)
"""All steps of a recurrent layer, from the last to the first if ``reverse``.

Inputs are [steps, rows, blocks * gates * 16], or [rows, steps, ...] if ``rows_first``: the products
of the inputs, with what biases can be added there. Recurrent weights are [blocks, units, gates,
16], the bias of the gates that stay apart [blocks * gates * 16], the first state and cell [rows,
units]. In a block are 16 units, the last one filled up with zeros.

The result is flat: all states, [steps, rows, units] or [rows, steps, units], and behind them the
last cell, [rows, units], if the kind has one."""
