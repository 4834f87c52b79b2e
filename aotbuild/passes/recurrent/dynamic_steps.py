"""Recurrent layers over a dynamic number of steps, which torch would trace for one number only.

torch takes recurrent layers apart into their steps, one after the other: the trace then holds for
the length of the example. An LSTM is spared where oneDNN has it as one operator, but
torch.export switches oneDNN off while it traces. Here an LSTM keeps that operator where it can
have it, and every other layer becomes a loop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def dynamic_steps() -> Iterator[None]:
    """Let recurrent layers be traced and compiled for any number of steps."""
    module = _decompositions()
    select, unroll = module.select_one_layer_lstm_function, module.one_layer_rnn

    def choose(given: torch.Tensor, *args: Any) -> Any:
        # No input of these layers tells which of its dimensions counts the steps.
        if all(isinstance(size, int) for size in given.shape[:2]):
            return select(given, *args)
        enabled = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(True)  # noqa: FBT003
        try:
            chosen = select(given, *args)
        finally:
            torch._C._set_mkldnn_enabled(enabled)
        return _lstm_loop if chosen is module.one_layer_lstm else chosen

    def layer(given: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        one = unroll if isinstance(given.shape[0], int) else _rnn_loop
        return one(given, *args, **kwargs)

    module.select_one_layer_lstm_function, module.one_layer_rnn = choose, layer
    try:
        yield
    finally:
        module.select_one_layer_lstm_function, module.one_layer_rnn = select, unroll


def _decompositions() -> Any:
    """The module of torch that takes recurrent layers apart."""
    from torch._decomp import decompositions

    return decompositions


def _lstm_loop(
    given: torch.Tensor,
    hidden: tuple[torch.Tensor, torch.Tensor],
    params: list[torch.Tensor],
    has_biases: bool,  # noqa: FBT001
    reverse: bool = False,  # noqa: FBT001, FBT002
) -> Any:
    """One layer, with the parameters of torch's ``one_layer_lstm``."""
    module = _decompositions()
    steps: Any = given.shape[0]
    if isinstance(steps, int):
        return module.one_layer_lstm(given, hidden, params, has_biases, reverse)
    weights, biases = params[:2], params[2:4] if has_biases else (None, None)
    projection = params[-1] if len(params) in {3, 5} else None

    def cell(gates: torch.Tensor, hx: torch.Tensor, cx: torch.Tensor) -> Any:
        return module.lstm_cell(gates, hx, cx, weights[1], biases[1], projection, chunk_dim=2)

    gates = torch.nn.functional.linear(given, weights[0], biases[0])
    return _loop(gates, cell, hidden, reverse=reverse)


def _rnn_loop(
    given: torch.Tensor,
    hidden: torch.Tensor,
    params: list[torch.Tensor],
    has_biases: bool,  # noqa: FBT001
    hidden_fn: Callable[..., torch.Tensor],
    reverse: bool = False,  # noqa: FBT001, FBT002
) -> tuple[torch.Tensor, torch.Tensor]:
    """One layer, with the parameters of torch's ``one_layer_rnn``."""
    weights, biases = params[:2], params[2:4] if has_biases else (None, None)

    def cell(gates: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor]:
        return (hidden_fn(gates, state, weights[0], biases[0], weights[1], biases[1]),)

    gates = torch.nn.functional.linear(given, weights[0], biases[0])
    outputs, (state,) = _loop(gates, cell, (hidden,), reverse=reverse)
    return outputs, state


def _loop(
    gates: torch.Tensor,
    cell: Callable[..., tuple[torch.Tensor, ...]],
    hidden: tuple[torch.Tensor, ...],
    *,
    reverse: bool,
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """All steps, one after the other: the output of each, and the last states."""
    from torch._higher_order_ops.while_loop import while_loop

    check: Any = torch._check
    loop: Any = while_loop
    gates = gates.flip(0) if reverse else gates
    states = [state.unsqueeze(0) for state in hidden]
    outputs = states[0].new_empty(gates.shape[0], *states[0].shape[1:])

    def more(step: torch.Tensor, *_: torch.Tensor) -> Any:
        return step < gates.shape[0]

    def run(step: torch.Tensor, outputs: torch.Tensor, *states: torch.Tensor) -> Any:
        i: Any = step.item()
        check(i >= 0)
        check(i < gates.shape[0])
        states = cell(gates[i], *states)
        outputs = outputs.clone()
        outputs[i] = states[0].squeeze(0)
        return (step + 1, outputs, *states)

    first = torch.zeros((), dtype=torch.int64)
    _, outputs, *states = loop(more, run, (first, outputs, *states))
    return (
        outputs.flip(0) if reverse else outputs,
        tuple(state.squeeze(0) for state in states),
    )
