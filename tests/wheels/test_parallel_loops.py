"""Loops are divided among threads where that pays, and nowhere else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from compiled import Call, compiled
from torch import nn
from torch.nn import functional


class Loops(nn.Module):
    """Loops of several lengths and kinds."""

    def forward(self, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> list[torch.Tensor]:
        """x: (rows, 64); y: (8, 8); z: (300, 300)."""
        return [
            (x + 1).relu(),
            x.softmax(1),
            x.sum(),
            functional.layer_norm(x, (64,)),
            functional.gelu(x) @ x.T,
            y.sigmoid() * 2,
            y.sum(0),
            z.tanh() + 1,
            z.sum(),
        ]


class Gathered(nn.Module):
    """A loop that may throw."""

    def forward(self, table: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """table: (rows, 4); ids: (count,)."""
        return table[ids] + 1


def pragmas(directory: Path) -> list[str]:
    """The parallel regions of the code that was compiled."""
    (path,) = directory.rglob("model.kernel.cpp")
    return re.findall(r"#pragma omp parallel.*", path.read_text())


def rows(n: int) -> list[torch.Tensor]:
    torch.manual_seed(n)
    return [torch.randn(n, 64), torch.randn(8, 8), torch.randn(300, 300)]


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Call, list[str]]:
    directory = tmp_path_factory.mktemp("loops")
    dim = torch.export.Dim("rows", min=1, max=50_000)
    call, _ = compiled(Loops(), rows(4), directory, dynamic=({0: dim}, None, None))
    return call, pragmas(directory)


def test_loops_of_known_sizes_ask_nothing(tmp_path: Path) -> None:
    module: Any = nn.GRUCell(64, 64)
    compiled(module, [torch.randn(1, 64), torch.randn(1, 64)], tmp_path)
    assert pragmas(tmp_path) == []


def test_other_loops_ask_at_run_time(loops: tuple[Call, list[str]]) -> None:
    whole = [each for each in loops[1] if each == "#pragma omp parallel"]
    asking = [each for each in loops[1] if "if(" in each]
    assert whole  # over z, one region or two
    assert len(asking) >= 4
    assert len(whole) + len(asking) == len(loops[1])
    assert all("ks0" in each for each in asking)


@pytest.mark.parametrize("count", [1, 3, 100, 1000, 3000])
def test_results_are_right_whether_loops_are_divided_or_not(
    loops: tuple[Call, list[str]], count: int
) -> None:
    given = rows(count)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            torch.testing.assert_close(loops[0](*given), Loops()(*given), rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_an_error_is_caught_whether_a_loop_is_divided_or_not(tmp_path: Path) -> None:
    dim = torch.export.Dim("count", min=1, max=1_000_000)
    given = [torch.randn(10, 4), torch.tensor([1, 9, 3])]
    call, _ = compiled(Gathered(), given, tmp_path, dynamic=(None, {0: dim}))
    assert any("if(" in each for each in pragmas(tmp_path))
    for count in (3, 500_000):
        ids = torch.zeros(count, dtype=torch.int64)
        torch.testing.assert_close(call(given[0], ids), [Gathered()(given[0], ids)])
        ids[-1] = 10
        with pytest.raises(RuntimeError):
            call(given[0], ids)
