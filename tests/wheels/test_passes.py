"""Passes through the compiler: compiled results equal those of eager torch, for all sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compiled import LEVELS, Call, compiled, compiled_layers, same_by_any_threads, why_not
from torch import nn

SIZES = [(37, 70), (64, 64), (130, 200), (1, 1030), (1030, 2), (2100, 33)]
"""Of weights: whole panels and others, and sums that are made in parts."""


class Layers(nn.Module):
    """Linear layers of many sizes, with what can be fused behind them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(k, n) for k, n in SIZES)
        self.activated = nn.ModuleList(
            nn.Sequential(nn.Linear(37, 50), activation)
            for activation in (nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Sigmoid(), nn.Tanh())
        )
        self.square = nn.Linear(37, 37, bias=False)

    def forward(self, *given: torch.Tensor) -> list[torch.Tensor]:
        found = [layer(x) for layer, x in zip(self.layers, given, strict=True)]
        x = given[0]
        found += [layer(x) for layer in self.activated]
        product = self.square(x)
        # The product alone is used too, and views of it that no tile is.
        found += [product, torch.relu(product) * 2 + x, product.flatten()[::3] + 1]
        return [*found, nn.functional.layer_norm(self.square(x) + x, (37,))]


@pytest.fixture(scope="module", params=LEVELS)
def layers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    if reason := why_not(request.param):
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("layers")
    call, applied = compiled_layers(
        Layers(), [k for k, _ in SIZES], directory, target=request.param, rows=64
    )
    assert applied.counts["linear"] == len(SIZES) + 7
    return call


def test_linear_layers_equal_eager_for_any_number_of_rows(layers: Call) -> None:
    module = Layers().eval()
    for rows in [*range(1, 41), 57, 64]:
        given = [torch.randn(rows, k) for k, _ in SIZES]
        assert_close(layers(*given), module, given)


def test_a_result_depends_neither_on_threads_nor_on_other_rows(layers: Call) -> None:
    given = [torch.randn(64, k) for k, _ in SIZES]
    results = same_by_any_threads(layers, *given)
    count = len(SIZES)
    for start, end in ((0, 1), (7, 9), (11, 14), (30, 34), (3, 20), (40, 64)):
        part = layers(*(x[start:end] for x in given))[:count]
        whole = [y[start:end] for y in results[:count]]
        torch.testing.assert_close(part, whole, rtol=0, atol=0)


def test_special_values_pass_through_activations(layers: Call) -> None:
    module = Layers().eval()
    given = [torch.randn(3, k) for k, _ in SIZES]
    given[0][0] *= 1e4
    given[0][1, 5] = torch.nan
    assert_close(layers(*given), module, given, 1e-2)


def test_inputs_of_any_strides_and_a_known_number_of_rows(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(48, 96), nn.Linear(96, 20)

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            """x: (2, 48, 17)."""
            rows = x.reshape(2, 17, 48)
            views = [
                x.transpose(1, 2),
                rows[:, 1:],
                (rows + 1)[..., 2:5, :],
                x.reshape(48, 34).t(),
                rows.repeat_interleave(2, -1)[..., ::2],
                x[:1, :, 0].expand(5, 48),
                x[0, :, 3],
            ]
            hidden = nn.functional.gelu(self.first(rows)) + 1
            return [*map(self.first, views), self.second(hidden[:, 1:])]

    module, x = Net().eval(), torch.randn(2, 48, 17)
    call, applied = compiled(module, [x], tmp_path)
    assert applied.counts == {"linear": 9}
    assert_close(call(x), module, [x])


def assert_close(
    found: list[torch.Tensor], module: Any, given: list[torch.Tensor], tolerance: float = 2e-5
) -> None:
    with torch.no_grad():
        expected = module(*given)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
