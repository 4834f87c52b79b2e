"""Memory that libraries keep from call to call belongs to no result."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compiled import Call, compiled
from torch import nn


class Net(nn.Module):
    """Gives what is computed last, a view of what is computed in between, and an input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)
        self.table = nn.Embedding(5, 8)

    def forward(
        self, x: torch.Tensor, index: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        between = self.first(x).relu()
        sums = between.cumsum(1)
        y = self.second(sums) + self.table(index)[:, :, None, None]
        return y.softmax(1), sums[:, 2:4], between.flatten(1), x


@pytest.fixture(scope="module", params=["all passes", "none"])
def net(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=32)
    module = Net()
    run, _ = compiled(
        module,
        given(4),
        tmp_path_factory.mktemp("pools"),
        dynamic=({0: batch}, {0: batch}),
        passes=None if request.param == "all passes" else [],
    )
    globals()["eager"] = module.eval()
    return run


def given(batch: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    images = torch.randn(batch, 3, 24, 24, generator=generator)
    return [images, torch.randint(5, (batch,), generator=generator)]


def close(found: list[torch.Tensor], batch: int) -> None:
    with torch.no_grad():
        expected = globals()["eager"](*given(batch))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_results_stay_what_they_are(net: Call) -> None:
    # The block grows, is larger than needed, and grows again.
    batches = [2, 2, 9, 1, 32, 3, 32]
    results = [net(*given(batch)) for batch in batches]
    for batch, found in zip(batches, results, strict=True):
        close(found, batch)


def test_a_call_that_fails_leaves_nothing(net: Call) -> None:
    before = net(*given(5))
    wrong = given(5)
    wrong[1][3] = 77
    with pytest.raises(RuntimeError):
        net(*wrong)
    close(before, 5)
    for batch in (5, 7):
        close(net(*given(batch)), batch)


class Wide(nn.Module):
    """What is computed in between is larger than what the C library keeps: 64 MB a row."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x[:, None] * torch.arange(4096.0)[:, None]
        return (y.softmax(1) @ x[:, :, None]).amax(1)


def faults(run: Call, batch: int) -> int:
    """How many pages a call is given anew, when there were calls before."""
    x = torch.ones(batch, 4096)
    for _ in range(2):
        run(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    run(x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_memory_is_kept_up_to_a_limit(tmp_path: Path) -> None:
    pages = 4096 * 4096 * 4 // resource.getpagesize()
    batch = torch.export.Dim("batch", min=1, max=8)
    run, _ = compiled(Wide(), [torch.ones(2, 4096)], tmp_path, dynamic=({0: batch},), passes=[])
    assert faults(run, 1) < pages // 2
    assert faults(run, 8) > pages  # half a gigabyte
    assert faults(run, 1) < pages // 2


@pytest.mark.parametrize(("limit", "kept"), [("0", False), ("1000", True), ("", True)])
def test_the_limit_is_set_by_the_environment(tmp_path: Path, limit: str, *, kept: bool) -> None:
    # It is read once in a process.
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch
from pathlib import Path
import test_pools
from compiled import compiled
run, _ = compiled(test_pools.Wide(), [torch.ones(1, 4096)], Path({str(tmp_path)!r}), passes=[])
print(test_pools.faults(run, 1))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "AOTBUILD_KEPT_MB": limit},
        capture_output=True,
        text=True,
        check=True,
    )
    pages = 4096 * 4096 * 4 // resource.getpagesize()
    assert (int(done.stdout) < pages // 2) is kept
