"""Products of bfloat16 through the compiler, and their kernel for CPUs without the instructions."""

from __future__ import annotations

import subprocess
from importlib.resources import as_file, files
from pathlib import Path

import pytest
import torch
from compiled import LEVELS, Call, compiled, compiled_layers, same_by_any_threads, why_not
from torch import nn

from aotbuild.runtime.engines import cpu_features
from aotbuild.target import TARGETS
from aotbuild.toolchain import find_cxx

TARGET = TARGETS["cpu-x86-64-v4"]
SIZES = [(38, 70), (64, 64), (130, 200), (2, 1030), (1030, 2), (2100, 33)]

needs_avx512 = pytest.mark.skipif(
    not all(cpu_features().get(name) for name in TARGET.requires), reason="needs AVX-512"
)


def rounded(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(torch.bfloat16).float()


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(k, n) for k, n in SIZES)
        self.square = nn.Linear(64, 64, bias=False)

    def forward(self, *given: torch.Tensor) -> list[torch.Tensor]:
        found = [layer(x) for layer, x in zip(self.layers, given, strict=True)]
        x = given[1]
        product = self.square(x)
        return [*found, product, torch.relu(product) * 2 + x, nn.functional.gelu(self.square(x))]

    def expected(self, given: list[torch.Tensor]) -> list[torch.Tensor]:
        def linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
            bias = None if layer.bias is None else layer.bias.detach()
            return nn.functional.linear(rounded(x), rounded(layer.weight), bias)

        found = [
            linear(layer, x)
            for layer, x in zip(self.layers, given, strict=True)
            if isinstance(layer, nn.Linear)
        ]
        product = linear(self.square, given[1])
        return [*found, product, torch.relu(product) * 2 + given[1], nn.functional.gelu(product)]


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Call:
    call, applied = compiled_layers(
        Layers(),
        [k for k, _ in SIZES],
        tmp_path_factory.mktemp("layers"),
        target=TARGET.name,
        rows=130,
        precision="bfloat16",
    )
    assert applied.counts["bfloat16"] == len(SIZES) + 2
    return call


@needs_avx512
def test_products_equal_those_of_rounded_factors_for_any_number_of_rows(layers: Call) -> None:
    module = Layers()
    for rows in [*range(1, 33), 57, 64, 113, 130]:
        given = [torch.randn(rows, k) for k, _ in SIZES]
        for found, expected in zip(layers(*given), module.expected(given), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@needs_avx512
def test_a_result_does_not_depend_on_threads(layers: Call) -> None:
    given = [torch.randn(64, k) for k, _ in SIZES]
    same_by_any_threads(layers, *given)


PROGRAM = r"""
#include "linear/gemm_bfloat16.h"
#include <cmath>
#include <cstdio>
#include <vector>
using namespace aotbuild::bfloat16;
using aotbuild::kPanel;
using aotbuild::kRows;
constexpr int kWidest = 8, kLd = Tiling::kLd;
static float wide(uint16_t x) {
  uint32_t bits = uint32_t(x) << 16;
  float found;
  std::memcpy(&found, &bits, sizeof found);
  return found;
}
template <class By>
static double worst(int rows, int panels, int pairs) {
  const int distance = 2 * pairs + 4;
  std::vector<uint16_t> a(rows * distance), b(panels * pairs * 32);
  std::vector<float> init(panels * kPanel, 0.25f), c(rows * kLd);
  uint32_t state = 1;
  auto next = [&] { state = state * 1664525 + 1013904223; return uint16_t(0x3e80 + (state >> 25)
      + ((state >> 9 & 1) << 15)); };
  for (auto& x : a) x = next();
  for (auto& x : b) x = next();
  multiply_rows<By, 1, kRows>(
      rows, panels, a.data(), distance, b.data(), pairs * 32, pairs, c.data(), kLd, init.data());
  double error = 0;
  for (int r = 0; r < rows; r++)
    for (int j = 0; j < panels * kPanel; j++) {
      double sum = 0.25;
      for (int k = 0; k < 2 * pairs; k++)
        sum += double(wide(a[r * distance + k]))
             * wide(b[(j / kPanel * pairs + k / 2) * 32 + j % kPanel * 2 + k % 2]);
      error = std::fmax(error, std::fabs(sum - c[r * kLd + j]));
    }
  return error;
}
int main() {
  double found = 0;
  for (int rows = 1; rows <= kRows; rows++)
    for (int panels = 1; panels <= kWidest; panels++) {
      found = std::fmax(found, worst<Widened>(rows, panels, 37));
      if (has_pairs()) found = std::fmax(found, worst<Native>(rows, panels, 37));
    }
  std::printf("%g\n", found);
}
"""


@needs_avx512
def test_both_kernels_multiply_any_block(tmp_path: Path) -> None:
    (tmp_path / "main.cpp").write_text(PROGRAM)
    with as_file(files("aotbuild.passes")) as passes:
        subprocess.run(
            [*find_cxx(), "-std=c++20", "-O2", f"-march={TARGET.march}", "main.cpp", "-o", "main"]
            + ["-I", str(passes)],
            cwd=tmp_path,
            check=True,
        )
    done = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1e-4


class Narrow(nn.Module):
    """Layers of bfloat16, with what is fused behind them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(k, n) for k, n in SIZES)
        self.gate, self.up = nn.Linear(64, 96, bias=False), nn.Linear(64, 96)
        self.to(torch.bfloat16)

    def forward(self, *given: torch.Tensor) -> list[torch.Tensor]:
        found = [layer(x) for layer, x in zip(self.layers, given, strict=True)]
        x = given[1]
        return [*found, nn.functional.silu(self.gate(x)) * self.up(x), self.layers[1](x) + x]


@pytest.fixture(scope="module", params=LEVELS)
def narrow(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    if reason := why_not(request.param):
        pytest.skip(reason)
    rows = torch.export.Dim("rows", min=1, max=64)
    call, applied = compiled(
        Narrow(),
        [torch.randn(5, k, dtype=torch.bfloat16) for k, _ in SIZES],
        tmp_path_factory.mktemp("narrow"),
        target=request.param,
        dynamic={"given": tuple({0: rows} for _ in SIZES)},
    )
    assert applied.counts["linear"] == len(SIZES) + 3
    return call


def narrow_rows(rows: int) -> list[torch.Tensor]:
    torch.manual_seed(rows)
    return [torch.randn(rows, k, dtype=torch.bfloat16) for k, _ in SIZES]


def test_layers_of_bfloat16_equal_those_of_float32_rounded(narrow: Call) -> None:
    wide = Narrow().float()
    for rows in [*range(1, 18), 33, 64]:
        given = narrow_rows(rows)
        with torch.no_grad():
            expected = wide(*(x.float() for x in given))
        for found, each in zip(narrow(*given), expected, strict=True):
            assert found.dtype is torch.bfloat16
            torch.testing.assert_close(found.float(), each, rtol=2**-7, atol=2e-2)


def test_a_result_of_bfloat16_depends_neither_on_threads_nor_on_other_rows(narrow: Call) -> None:
    given = narrow_rows(64)
    results = same_by_any_threads(narrow, *given)
    for start, end in ((0, 1), (7, 9), (11, 14), (30, 34), (3, 20)):
        part = narrow(*(x[start:end] for x in given))
        torch.testing.assert_close(part, [y[start:end] for y in results], rtol=0, atol=0)


def test_what_is_no_number_passes_through_layers_of_bfloat16(narrow: Call) -> None:
    wide = Narrow().float()
    for rows in (3, 20):
        given = narrow_rows(rows)
        given[1][0, 5], given[1][1, 6], given[2][2] = torch.nan, torch.inf, -torch.inf
        with torch.no_grad():
            expected = wide(*(x.float() for x in given))
        for found, each in zip(narrow(*given), expected, strict=True):
            torch.testing.assert_close(found.float(), each, rtol=2**-7, atol=2e-2, equal_nan=True)
