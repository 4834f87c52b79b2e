"""The program that torch runs uncompiled: which weights it takes, and what it computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from aotbuild.steps.artifacts.eager_program import Eager, write_eager
from aotbuild.steps.artifacts.export_weights import store


class Constants(nn.Module):
    """Tensors that are stored nowhere: they are so small that they are part of compiled code."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))
        self.unused = nn.Parameter(torch.ones(20))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = torch.tensor([0.1, float("nan"), -float("inf"), -0.0])
        few = torch.tensor(3, dtype=torch.int16) + torch.tensor([True, False, True, True])
        none = torch.zeros(0, 4).sum(0)
        half = torch.tensor([1.5, 2.5, 3.5, 4.5], dtype=torch.bfloat16)
        return x * self.weight + steps + few + none + half


class Normalised(nn.Module):
    """Batch norms count batches, in a buffer of which inference makes no use."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.norm.running_mean = torch.arange(4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normalised: torch.Tensor = self.norm(x)
        return normalised


@pytest.mark.parametrize("module", [Constants(), Normalised()])
def test_it_computes_what_the_module_does(module: nn.Module, tmp_path: Path) -> None:
    x = torch.randn(3, 4)
    program = torch.export.export(module.eval(), (x,))
    (tmp_path / "forward").mkdir()
    stored = store({"forward": program}, module.state_dict(), tmp_path)
    write_eager(program, stored.names["forward"], tmp_path / "forward", "test:Module")
    eager = Eager.read(tmp_path / "forward")
    assert eager is not None
    assert set(eager.weights) == set(stored.names["forward"].values())
    space: dict[str, object] = {}
    exec(eager.source.read_text(), space)  # noqa: S102
    tensors = stored.open()
    (result,) = space["program"](*(tensors[key] for key in eager.weights), x)  # type: ignore[operator]
    assert torch.equal(result.view(torch.int32), module(x).view(torch.int32))
    assert json.loads((tmp_path / "forward/eager.json").read_text())["weights"] == eager.weights
