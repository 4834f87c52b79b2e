"""What several numbers are added to by an index is summed in order, as by eager torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compiled import LEVELS, Call, compiled, same_by_any_threads
from torch import nn


class Sums(nn.Module):
    """Sums of many kinds."""

    def forward(
        self, x: torch.Tensor, rows: torch.Tensor, places: torch.Tensor, weights: torch.Tensor
    ) -> list[torch.Tensor]:
        """x: (count, 24); rows: (count,); places: (count, 24), below 40; weights: (count,)."""
        table = torch.zeros(40, 24)
        return [
            table.index_add(0, rows, x, alpha=0.5),
            table.scatter_add(0, places, x),
            torch.zeros(40).scatter_add(0, rows, weights.exp()),
            torch.zeros(40).index_put((rows,), weights, accumulate=True),
            torch.zeros(40, dtype=torch.float64).scatter_add(0, rows, weights.double()),
            torch.zeros(40, dtype=torch.int64).scatter_add(0, rows, torch.ones_like(rows)),
            torch.zeros(40, 24).index_add(0, rows, x.softmax(1)) + 1,
        ]


class Halves(nn.Module):
    """Sums in bfloat16."""

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> list[torch.Tensor]:
        """x: (count, 24) in bfloat16; rows: (count,), below 40."""
        table = torch.zeros(40, 24, dtype=torch.bfloat16)
        return [
            table.index_add(0, rows, x),
            table.index_add(0, rows, x, alpha=2) + 1,
            table.clone().index_add_(0, rows, x),
            table.scatter_add(0, rows[:, None].expand(-1, 24), x),
            table.index_put((rows,), x, accumulate=True),
        ]


class Columns(nn.Module):
    """Sums of columns."""

    def forward(self, x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """x: (count, 24); rows: (count,), below 40."""
        return torch.zeros(24, 40).index_add(1, rows, x.T)


def given(count: int) -> list[torch.Tensor]:
    torch.manual_seed(count)
    rows = torch.randint(0, 40, (count,))
    return [torch.randn(count, 24), rows, torch.randint(0, 40, (count, 24)), torch.randn(count)]


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> tuple[Call, str]:
    directory = tmp_path_factory.mktemp("sums")
    count = torch.export.Dim("count", min=1, max=200_000)
    call, _ = compiled(Sums(), given(7), directory, dynamic=({0: count},) * 4)
    (path,) = directory.rglob("model.kernel.cpp")
    return call, path.read_text()


def test_nothing_is_added_by_atomic_operations(sums: tuple[Call, str]) -> None:
    assert "atomic_add" not in sums[1]


@pytest.mark.parametrize("count", [1, 2, 7, 500, 50_000])
def test_sums_are_those_of_eager_torch_by_any_threads(sums: tuple[Call, str], count: int) -> None:
    arguments = given(count)
    results = same_by_any_threads(sums[0], *arguments)
    for found, expected in zip(results, Sums()(*arguments), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", LEVELS[:2])
def test_sums_in_bfloat16(target: str, tmp_path: Path) -> None:
    x, rows, *_ = given(120)
    arguments = [x.bfloat16(), rows]
    call, _ = compiled(Halves(), arguments, tmp_path, target=target)
    for found, expected in zip(call(*arguments), Halves()(*arguments), strict=True):
        assert found.dtype == torch.bfloat16
        # Eager torch rounds after each addition.
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.1)


def test_columns_are_summed_by_an_index(tmp_path: Path) -> None:
    arguments = given(500)[:2]
    call, _ = compiled(Columns(), arguments, tmp_path)
    (found,) = same_by_any_threads(call, *arguments)
    torch.testing.assert_close(found, Columns()(*arguments), rtol=1e-5, atol=1e-5)
    (path,) = tmp_path.rglob("model.kernel.cpp")
    assert "atomic_add" not in path.read_text()


def test_a_loop_whose_turns_depend_on_one_another_is_not_called_independent(
    sums: tuple[Call, str],
) -> None:
    loops = sums[1].split("    {\n")
    adding = [loop for loop in loops if "+=" in loop.replace("x0+=", "").replace("x1+=", "")]
    assert adding
    assert all("ivdep" not in loop for loop in adding)
