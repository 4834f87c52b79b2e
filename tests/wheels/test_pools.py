"""Memory that libraries keep from call to call belongs to no result."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import pytest
import torch
from compiled import Call, compiled
from forks import forked
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


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of ``Wide``."""
    directory = tmp_path_factory.mktemp("wide")
    batch = torch.export.Dim("batch", min=1, max=8)
    compiled(Wide(), [torch.ones(2, 4096)], directory, dynamic=({0: batch},), passes=[])
    # The linker's output is empty where the library is known by its code.
    (library,) = (path for path in directory.rglob("*.so") if path.stat().st_size)
    return library


FAULTS = """
import json, os, resource, torch
os.environ.update({environment!r})
runner = torch._C._aoti.AOTIModelContainerRunnerCpu({library!r}, 1)

def faults(batch):
    x = torch.ones(batch, 4096)
    for _ in range(2):
        runner.run([x])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    runner.run([x])
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(json.dumps([faults(batch) for batch in {batches!r}]))
"""
"""How many pages a call is given anew, when there were calls before."""

ROW = 4096 * 4096 * 4 // resource.getpagesize()
"""The pages of what is computed in between."""


def faults(library: Path, *batches: int, **environment: str) -> list[int]:
    """How many pages calls are given anew, in a process of their own."""
    code = FAULTS.format(environment=environment, library=str(library), batches=batches)
    status, output = forked(Path(sys.executable), library.parent, code)
    assert status == 0, output
    found: list[int] = json.loads(output.splitlines()[-1])
    return found


def test_memory_is_kept_up_to_a_limit(wide: Path) -> None:
    one, eight, one_again = faults(wide, 1, 8, 1)
    assert one < ROW // 2
    assert eight > ROW  # half a gigabyte
    assert one_again < ROW // 2


@pytest.mark.parametrize(("limit", "kept"), [("0", False), ("1000", True), ("", True)])
def test_the_limit_is_set_by_the_environment(wide: Path, limit: str, *, kept: bool) -> None:
    # It is read once in a process.
    (pages,) = faults(wide, 1, AOTBUILD_KEPT_MB=limit)
    assert (pages < ROW // 2) is kept
