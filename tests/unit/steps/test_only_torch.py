"""What a model calls that only torch has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import traced

from aotbuild.steps.compile.only_torch import what_needs_torch


class Called(torch.nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


CALLS: dict[str, tuple[Any, str, str]] = {
    "random numbers": (
        lambda x: x + torch.rand_like(x),
        "aoti_torch_cpu_randint_low_out",
        "aten.rand_like",
    ),
    "of another name": (torch.matrix_exp, "aten.linalg_matrix_exp", "aten.matrix_exp"),
    "of its name": (torch.linalg.cholesky, "aten.linalg_cholesky", "aten.linalg_cholesky"),
}


@pytest.mark.parametrize(("function", "called", "operator"), CALLS.values(), ids=CALLS)
def test_operators_are_told_with_their_line(function: Any, called: str, operator: str) -> None:
    graph = traced(Called(function), torch.eye(3)).graph
    (told,) = what_needs_torch([called], graph, "", Path(__file__).parent)
    assert told.startswith(f"only torch has {operator}")
    assert "test_only_torch.py:" in told


def test_what_no_operator_is_known_for_is_told_by_its_name() -> None:
    graph = traced(Called(torch.sin), torch.eye(3)).graph
    told = what_needs_torch(["aoti_torch_cpu_unheard_of"], graph, "", Path(__file__).parent)
    assert told == ["its code calls unheard_of, which only torch has"]
