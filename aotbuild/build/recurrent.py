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
from torch._decomp import decompositions
from torch._higher_order_ops.while_loop import while_loop
from torch.export import _patches


@contextlib.contextmanager
def dynamic_steps() -> Iterator[None]:
    """Let recurrent layers be traced and compiled for any number of steps."""
    module: Any = decompositions
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


def _lstm_loop(given: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    static = isinstance(given.shape[0], int)
    one: Any = decompositions.one_layer_lstm if static else _patches.one_layer_while_loop_lstm
    return one(given, *args, **kwargs)


def _rnn_loop(
    given: torch.Tensor,
    hidden: torch.Tensor,
    params: list[torch.Tensor],
    has_biases: bool,  # noqa: FBT001
    hidden_fn: Callable[..., torch.Tensor],
    reverse: bool = False,  # noqa: FBT001, FBT002
) -> tuple[torch.Tensor, torch.Tensor]:
    """One layer, with the parameters of torch's ``one_layer_rnn``."""
    ih_weight, hh_weight = params[:2]
    ih_bias, hh_bias = params[2:4] if has_biases else (None, None)
    gates = torch.nn.functional.linear(given, ih_weight, ih_bias)
    gates = gates.flip(0) if reverse else gates
    state = hidden.unsqueeze(0)
    outputs = torch.empty(gates.size(0), *state.shape[1:], dtype=state.dtype, device=state.device)

    check: Any = torch._check

    def more(step: torch.Tensor, *_: torch.Tensor) -> Any:
        return step < gates.size(0)

    def run(step: torch.Tensor, outputs: torch.Tensor, state: torch.Tensor) -> Any:
        i: Any = step.item()
        check(i >= 0)
        check(i < gates.size(0))
        state = hidden_fn(gates[i], state, ih_weight, ih_bias, hh_weight, hh_bias)
        outputs = outputs.clone()
        outputs[i] = state.squeeze(0)
        return step + 1, outputs, state

    first = torch.zeros((), dtype=torch.int64)
    loop: Any = while_loop
    _, outputs, state = loop(more, run, (first, outputs, state))
    return (outputs.flip(0) if reverse else outputs), state.squeeze(0)
