"""Recurrent layers are traced for any number of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps

LAYERS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: nn.LSTM(3, 4, 2),
    "lstm, batch first, both ways": lambda: nn.LSTM(3, 4, batch_first=True, bidirectional=True),
    "lstm of float64, which oneDNN has not": lambda: nn.LSTM(3, 4).double(),
    "lstm with projections": lambda: nn.LSTM(3, 4, proj_size=2),
    "gru": lambda: nn.GRU(3, 4, bidirectional=True),
    "rnn": lambda: nn.RNN(3, 4, batch_first=True, nonlinearity="relu"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAYERS)
def test_both_dimensions_stay_dynamic(name: str) -> None:
    layer = LAYERS[name]().eval().requires_grad_(requires_grad=False)
    given = torch.zeros(5, 6, 3, dtype=layer.weight_ih_l0.dtype)
    dims = {0: torch.export.Dim("a", max=8), 1: torch.export.Dim("b", max=9)}
    with torch.no_grad(), dynamic_steps():
        program = torch.export.export(layer, (given,), dynamic_shapes=(dims,))
        program.run_decompositions({})
    placeholder = next(node for node in program.graph.nodes if node.name == "input")
    rows, columns = placeholder.meta["val"].shape[:2]
    env = rows.node.shape_env
    assert {str(env.var_to_range[s.node.expr].upper) for s in (rows, columns)} == {"8", "9"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["lstm with projections", "gru", "rnn"])
def test_a_loop_gives_what_the_layer_gives(name: str) -> None:
    torch._dynamo.reset()  # of a loop traced before, torch would reuse a graph without its sizes
    torch.manual_seed(0)
    layer = LAYERS[name]().eval().requires_grad_(requires_grad=False)
    dims = {0: torch.export.Dim("a", max=8), 1: torch.export.Dim("b", max=9)}
    with torch.no_grad(), dynamic_steps():
        program = torch.export.export(layer, (torch.zeros(5, 6, 3),), dynamic_shapes=(dims,))
        module = program.run_decompositions().module()
        for rows, columns in [(1, 1), (8, 1), (1, 9), (8, 9)]:
            given = torch.randn(rows, columns, 3)
            torch.testing.assert_close(module(given), layer(given))
