"""What the pass ``linear`` makes of layers with constant weights: with it and without, one thread.

For each weight, eight layers over the same rows are compiled once with and once without the pass,
for any number of rows and this machine's CPU. Both give eager's result, and take turns. With
``--bfloat16``, the pass of that name follows, and the other arm is the pass ``linear`` alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from aotbuild.passes.pipeline import apply
from aotbuild.passes.template.operators import register_lowerings
from aotbuild.steps.tune.statistics import estimate, ratio

LAYERS = 8
WEIGHTS = [(64, 256), (384, 384), (384, 1536), (1536, 384), (768, 3072), (512, 1000)]
"""Columns and rows of weights as ``nn.Linear`` has them."""
ROWS = [1, 4, 16, 64, 197, 256]


class Layers(nn.Module):
    """Layers over one input."""

    def __init__(self, k: int, n: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(k, n) for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x: (rows, k)."""
        return [layer(x) for layer in self.layers]


def compiled(
    module: nn.Module, k: int, passes: list[str], precision: str = ""
) -> Callable[[torch.Tensor], Any]:
    """The layers compiled with some passes."""
    rows = torch.export.Dim("rows", min=1, max=512)
    with torch.no_grad():
        program = torch.export.export(module, (torch.rand(8, k),), dynamic_shapes=({0: rows},))
        graph: Any = program.module(check_guards=False)
        apply(graph, passes, precision=precision)
        example: Any = program.example_inputs
        library: Any = torch._inductor.aot_compile(graph, *example)  # noqa: SLF001
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(library, 1)  # noqa: SLF001
    return lambda x: runner.run([x])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--bfloat16", action="store_true", help="the pass bfloat16 beside linear")
    given = parser.parse_args()
    rounds, tolerance = given.rounds, 2e-2 if given.bfloat16 else 1e-4
    torch.set_num_threads(1)
    register_lowerings()
    print("| rows | k | n | with the pass, a layer | GFLOP/s | without it |")
    print("|--:|--:|--:|--:|--:|--:|")
    for k, n in WEIGHTS:
        module = Layers(k, n).eval()
        if given.bfloat16:
            both = compiled(module, k, ["linear", "bfloat16"], "bfloat16")
            arms = [both, compiled(module, k, ["linear"])]
        else:
            arms = [compiled(module, k, passes) for passes in (["linear"], [])]
        for rows in ROWS:
            x = torch.rand(rows, k)
            with torch.no_grad():
                expected = module(x)
            for arm in arms:
                torch.testing.assert_close(arm(x), expected, rtol=tolerance, atol=tolerance)
            times: list[list[float]] = [[], []]
            for _ in range(rounds):
                for arm, taken in zip(arms, times, strict=True):
                    start = time.perf_counter()
                    arm(x)
                    taken.append((time.perf_counter() - start) / LAYERS)
            own = estimate(times[0]).median
            speed = 2e-9 * rows * k * n / own
            slower = ratio(times[1], times[0]).text()
            print(f"| {rows} | {k} | {n} | {own * 1e6:.1f} us | {speed:.0f} | {slower} x |")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = directory
        main()
