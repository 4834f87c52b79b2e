"""Recurrent layers through the compiler: results equal those of eager torch, for all sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compiled import LEVELS, Call, compiled, same_by_any_threads, why_not
from test_passes import assert_close
from torch import nn

from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps

pytestmark = pytest.mark.filterwarnings("ignore:The tensor attribute")  # of torch's own layers


class Layers(nn.Module):
    """Recurrent layers of every kind over the same steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(
            [
                nn.LSTM(10, 16, batch_first=True),
                nn.LSTM(10, 37, num_layers=2, bidirectional=True, batch_first=True),
                nn.LSTM(10, 100, bias=False),
                nn.LSTM(10, 5, bidirectional=True),
            ]
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x: (batch, steps, 10)."""
        found: list[torch.Tensor] = []
        for layer in self.layers:
            output, states = layer(x if layer.batch_first else x.transpose(0, 1))
            found += [output, *states]
        return found


class Others(nn.Module):
    """Layers whose batch torch cannot trace for any size, with states that are given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(
            [
                nn.GRU(10, 16, batch_first=True),
                nn.GRU(10, 50, num_layers=2, bidirectional=True, batch_first=True),
                nn.GRU(10, 16, bias=False, batch_first=True),
                nn.RNN(10, 16, batch_first=True),
                nn.RNN(10, 33, nonlinearity="relu", bidirectional=True, batch_first=True),
            ]
        )
        self.lstm = nn.LSTM(10, 16, batch_first=True)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> list[torch.Tensor]:
        """x: (batch, steps, 10); state: (batch, 16)."""
        found: list[torch.Tensor] = []
        for layer in self.layers:
            own = state[None] if layer.hidden_size == 16 else None
            found += layer(x, own)
        output, states = self.lstm(x, (state[None], state[None] * 2))
        return [*found, output, *states]


@pytest.fixture(scope="module", params=LEVELS)
def layers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    if reason := why_not(request.param):
        pytest.skip(reason)
    return _compiled(Layers(), [torch.randn(3, 5, 10)], request.param, tmp_path_factory, rows=True)


@pytest.fixture(scope="module", params=LEVELS)
def others(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    if reason := why_not(request.param):
        pytest.skip(reason)
    given = [torch.randn(9, 5, 10), torch.randn(9, 16)]
    return _compiled(Others(), given, request.param, tmp_path_factory, rows=False)


def _compiled(
    module: Layers | Others,
    given: list[torch.Tensor],
    target: str,
    factory: pytest.TempPathFactory,
    *,
    rows: bool,
) -> Call:
    dims: dict[int, Any] = {1: torch.export.Dim("steps", min=1, max=200)}
    if rows:
        dims[0] = torch.export.Dim("rows", min=1, max=64)
    directory = factory.mktemp("layers")
    with dynamic_steps():
        call, applied = compiled(
            module, given, directory, target=target, dynamic=(dims, *({} for _ in given[1:]))
        )
    assert applied.counts["recurrent"] == len(module.layers) + len(given) - 1
    return call


def test_layers_equal_eager_for_any_number_of_steps_and_rows(layers: Call) -> None:
    module = Layers().eval()
    for rows, steps in ((1, 1), (1, 80), (2, 1), (3, 2), (7, 30), (12, 9), (13, 4), (64, 3)):
        given = [torch.randn(rows, steps, 10)]
        assert_close(layers(*given), module, given)


def test_other_layers_equal_eager_for_any_number_of_steps(others: Call) -> None:
    module = Others().eval()
    for steps in (1, 2, 9, 120):
        given = [torch.randn(9, steps, 10), torch.randn(9, 16)]
        assert_close(others(*given), module, given)


def test_layers_do_not_depend_on_threads_or_other_rows(layers: Call) -> None:
    x = torch.randn(40, 11, 10)
    results = same_by_any_threads(layers, x)
    torch.testing.assert_close(layers(x[:1])[0], results[0][:1], rtol=0, atol=0)


def test_extreme_values_saturate_and_nan_stays(layers: Call) -> None:
    module = Layers().eval()
    given = [torch.randn(4, 6, 10)]
    given[0][0] *= 1e4
    given[0][1, 2, 0] = torch.inf
    given[0][2, 3, 0] = torch.nan
    assert_close(layers(*given), module, given)


def test_a_loop_over_dynamic_steps_compiles_without_the_pass(tmp_path: Path) -> None:
    layer = nn.GRU(8, 16)
    steps = {0: torch.export.Dim("steps", min=1, max=64)}
    given = [torch.randn(5, 2, 8)]
    with dynamic_steps():
        call, applied = compiled(layer, given, tmp_path, dynamic=(steps,), passes=[])
    assert applied.counts == {}
    x = torch.randn(9, 2, 8)
    with torch.no_grad():
        torch.testing.assert_close(call(x), list(layer(x)))
