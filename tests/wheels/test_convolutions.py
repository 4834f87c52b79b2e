"""Convolutions through the compiler: compiled results equal those of eager torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compiled import LEVELS, Call, compiled, same_by_any_threads, why_not
from torch import nn
from torch.nn import functional as f


class Images(nn.Module):
    """Two-dimensional convolutions on images of a known size, and what can be behind them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.colour = nn.Sequential(nn.Conv2d(3, 33, 7, 2, 3, bias=False), nn.BatchNorm2d(33))
        self.plain = nn.Conv2d(33, 48, 3, padding=1)
        self.large = nn.Conv2d(48, 40, 3, padding=1)  # by Winograd's method
        self.long = nn.Conv2d(48, 20, (3, 5), padding=(1, 2), dilation=(1, 2))
        self.point = nn.Conv2d(40, 36, 1)
        self.stride = nn.Conv2d(40, 36, 1, 2)
        self.deep = nn.Conv2d(36, 36, 3, padding=1, groups=36)
        self.deeper = nn.Conv2d(300, 300, 5, 2, 2, groups=300)
        self.widest = nn.Conv2d(300, 17, 3, (2, 1), dilation=2, padding=2)
        self.uneven = nn.Conv2d(17, 9, 2)
        self.line = nn.Conv1d(9, 9, 7, padding=3, groups=9)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x: (batch, 3, 29, 27)."""
        a = f.max_pool2d(f.relu6(self.colour(x)), 1)
        b = f.leaky_relu(self.plain(a))
        c = f.silu(self.large(b))
        d = self.point(c)
        e = f.relu(self.deep(d) + d)
        g = f.hardswish(self.deeper(torch.cat([e] * 9, 1)[:, :300]))
        h = self.widest(g)
        scale = f.adaptive_avg_pool2d(h, 1).sigmoid()
        i = self.uneven(f.pad(h * scale, (1, 2, 0, 1)))
        return [
            self.stride(c),
            self.long(b) * 2 + 1,
            i,
            self.line(i.flatten(2)),
            e.mean((2, 3)),
            d,
            h.exp(),
        ]


class Sequences(nn.Module):
    """One-dimensional convolutions, and images of any size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.samples = nn.Conv1d(1, 20, 10, 4)
        self.same = nn.Conv1d(20, 20, 3, padding=3, dilation=3)
        self.first = nn.Conv2d(2, 20, 3, padding=1)
        self.point = nn.Conv2d(20, 35, 1)
        self.second = nn.Conv2d(35, 8, 3, 2, (2, 0))
        self.planes = nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, x: torch.Tensor, image: torch.Tensor) -> list[torch.Tensor]:
        """x: (batch, 1, time), image: (batch, 2, height, width)."""
        a = f.gelu(self.same(f.relu(self.samples(x))))
        b = a * 2 + a
        c = self.second(self.point(f.relu(self.first(image))).sigmoid() * 3)
        return [b, b.transpose(1, 2) + 1, c, self.planes(f.elu(c))]


@pytest.fixture(scope="module", params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    if reason := why_not(request.param):
        pytest.skip(reason)
    return str(request.param)


@pytest.fixture(scope="module")
def images(level: str, tmp_path_factory: pytest.TempPathFactory) -> Call:
    batch = torch.export.Dim("batch", min=1, max=16)
    module, x = Images(), torch.randn(2, 3, 29, 27)
    directory = tmp_path_factory.mktemp("images")
    call, applied = compiled(module, [x], directory, target=level, dynamic=({0: batch},))
    assert applied.counts == {
        "fold_batch_norm": 1,
        "convolution": 11,
        "fold_padding": 1,
        "winograd": 1,
    }
    return call


def check(call: Call, module: nn.Module, *given: torch.Tensor) -> list[torch.Tensor]:
    """Compare with eager torch, strides among the rest."""
    found = call(*given)
    with torch.no_grad():
        expected: list[torch.Tensor] = module.eval()(*given)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
    assert [each.stride() for each in found] == [each.stride() for each in expected]
    return found


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_images_equal_eager(images: Call, batch: int) -> None:
    check(images, Images(), torch.randn(batch, 3, 29, 27))


def test_a_result_does_not_depend_on_threads(images: Call) -> None:
    x = torch.randn(3, 3, 29, 27)
    same_by_any_threads(images, x, counts=(1, 2, 3, 5))


def test_sizes_that_are_not_known(tmp_path: Path) -> None:
    dim: Any = torch.export.Dim
    batch = dim("batch", min=1, max=8)
    sizes = (
        {0: batch, 2: dim.AUTO},
        {0: batch, 2: dim("height", min=2, max=80), 3: dim("width", min=5, max=80)},
    )
    module = Sequences()
    given = [torch.randn(2, 1, 100), torch.randn(2, 2, 9, 12)]
    call, applied = compiled(module, given, tmp_path, dynamic=sizes)
    assert applied.counts == {"convolution": 6}
    for n, time, height, width in ((1, 40, 2, 5), (3, 41, 7, 80), (8, 4000, 80, 31)):
        check(call, module, torch.randn(n, 1, time), torch.randn(n, 2, height, width))


class Groups(nn.Module):
    """Convolutions with groups of all kinds of sizes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        kinds = [(96, 96, 4), (48, 48, 2), (40, 40, 5), (24, 24, 6), (10, 10, 5), (24, 48, 2)]
        kinds += [(6, 12, 6), (5, 20, 5), (24, 12, 6), (30, 36, 6), (12, 10, 2), (32, 24, 2)]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 3, 1 + i % 2, (1, i % 3), 1 + i % 3 // 2, groups)
            for i, (before, after, groups) in enumerate(kinds)
        )
        self.point = nn.Conv2d(96, 64, 1, groups=2)
        self.small_point = nn.Conv2d(96, 96, 1, groups=12, bias=False)
        self.line = nn.Conv1d(48, 48, 16, padding=8, groups=3)
        self.small_line = nn.Conv1d(48, 48, 5, 2, groups=6)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x: (batch, 96, height, width)."""
        found = [layer(x[:, : layer.in_channels]) for layer in self.layers]
        found[0] = f.relu6(found[0]) * 2
        found[2] = f.silu(found[2])
        inner = f.relu(self.point(x + 1))
        return [
            *found,
            inner,
            f.relu(self.small_point(x) + x),
            self.line(x[:, :48].flatten(2)),
            f.gelu(self.small_line(x[:, :48, 0])),
        ]


@pytest.fixture(scope="module", params=[False, True], ids=["static", "dynamic"])
def groups(
    level: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Call, Any]:
    dim: Any = torch.export.Dim
    sizes: Any = {0: dim("batch", min=1, max=16)}
    if request.param:
        sizes |= {2: dim("height", min=5, max=80), 3: dim("width", min=9, max=80)}
    call, applied = compiled(
        Groups(),
        [torch.randn(2, 96, 11, 19)],
        tmp_path_factory.mktemp("groups"),
        target=level,
        dynamic=(sizes,),
    )
    assert applied.counts == {"convolution": 16}
    some = [(1, 11, 19), (3, 11, 19)]
    return call, [*some, (1, 5, 9), (2, 30, 41)] if request.param else some


def test_groups_equal_eager(groups: tuple[Call, Any]) -> None:
    call, sizes = groups
    for batch, height, width in sizes:
        check(call, Groups(), torch.randn(batch, 96, height, width))


def test_groups_do_not_depend_on_threads(groups: tuple[Call, Any]) -> None:
    call, sizes = groups
    for batch, height, width in sizes:
        same_by_any_threads(call, torch.randn(batch, 96, height, width), counts=(1, 2, 5))


@pytest.mark.parametrize("number", [torch.inf, torch.nan])
def test_what_is_no_number_stays_in_its_group(groups: tuple[Call, Any], number: float) -> None:
    x = torch.randn(1, 96, 11, 19)
    x[0, 3, 5, 7] = number
    call, module = groups[0], Groups()
    with torch.no_grad():
        expected = module(x)
    for mine, its in zip(call(x), expected, strict=True):
        assert torch.equal(mine.isfinite(), its.isfinite())
