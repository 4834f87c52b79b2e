"""What passes take for a constant: nothing that is written to, and nothing that takes too long."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as f

from aotbuild.passes.pipeline import apply


class Computed(nn.Module):
    """A layer with a weight that is computed from a parameter."""

    def __init__(self, compute: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32, 32) / 12)
        self.compute = compute

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [rows, 32]."""
        return f.linear(x, self.compute(self.weight, x))


def _row_cleared(weight: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    weight = weight * 2
    weight[0] = 0
    return weight


def _row_of_input(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    weight = weight.clone()
    weight.view(-1)[:32] = x[0]
    return weight


def _diagonal_filled(weight: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    weight = weight + 1
    weight.diagonal().fill_(1.0)
    return weight


def _orthogonal(steps: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def compute(weight: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        for _step in range(steps):
            weight = 1.5 * weight - 0.5 * weight @ weight.t() @ weight
        return weight

    return compute


def _applied(model: nn.Module) -> dict[str, int]:
    """How often passes rewrote a model, which goes on giving what it gave."""
    x = torch.randn(4, 32)
    with torch.no_grad():
        graph = torch.export.export(model.eval(), (x,)).module(check_guards=False)
        assert isinstance(graph, torch.fx.GraphModule)
        counts = apply(graph).counts
        torch.testing.assert_close(graph(x), model(x), rtol=1e-4, atol=1e-5)
    return counts


def test_computed_weights_that_are_written_to_through_views_stay() -> None:
    for compute in (_row_cleared, _row_of_input, _diagonal_filled):
        assert _applied(Computed(compute)) == {}


def test_weights_of_few_steps_are_constants() -> None:
    assert _applied(Computed(_orthogonal(3))) == {"linear": 1}


def test_weights_of_many_steps_take_no_time() -> None:
    begin = time.process_time()
    _applied(Computed(_orthogonal(20)))
    assert time.process_time() - begin < 20  # counted as a tree the steps are 10 ** 12


def test_a_deep_model() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(32, 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(300):
                x = torch.tanh(self.layer(x)) + x
            return x

    assert _applied(Deep()) == {"linear": 300}
