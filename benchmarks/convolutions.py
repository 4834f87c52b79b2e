"""What the passes make of convolutions with constant weights: with them and without, one thread.

For each layer of ResNet-18 and MobileNetV2, and some of ResNeXt-50 and RegNets, four of them over
the same image are compiled with the pass ``convolution`` and what follows it, without ``winograd``,
and without any. All give eager's result, and take turns.
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

LAYERS = 4
SHAPES = [
    (3, 64, 224, 7, 2, 1),
    (64, 64, 56, 3, 1, 1),
    (128, 128, 28, 3, 1, 1),
    (256, 256, 14, 3, 1, 1),
    (256, 512, 14, 3, 2, 1),
    (512, 512, 7, 3, 1, 1),
    (16, 96, 112, 1, 1, 1),
    (144, 24, 56, 1, 1, 1),
    (384, 64, 14, 1, 1, 1),
    (96, 96, 112, 3, 2, 96),
    (144, 144, 56, 3, 1, 144),
    (576, 576, 14, 3, 1, 576),
    (128, 128, 56, 3, 1, 32),
    (256, 256, 28, 3, 1, 32),
    (512, 512, 14, 3, 1, 32),
    (1024, 1024, 7, 3, 1, 32),
    (336, 336, 14, 3, 1, 14),
    (448, 448, 28, 3, 1, 8),
]
"""Channels before and after, width of the image and of the kernel, stride, groups."""
ARMS: list[list[str]] = [["convolution", "winograd"], ["convolution"], []]


class Layers(nn.Module):
    """Layers over one image, each summed over its pixels lest the results be put in order."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups)
            for _ in range(LAYERS)
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """x: (batch, before, width, width)."""
        return [layer(x).mean((2, 3)) for layer in self.layers]


def compiled(module: nn.Module, x: torch.Tensor, passes: list[str]) -> Callable[[], Any]:
    """The layers compiled with some passes."""
    with torch.no_grad():
        program = torch.export.export(module, (x,))
        graph: Any = program.module(check_guards=False)
        apply(graph, passes)
        example: Any = program.example_inputs
        library: Any = torch._inductor.aot_compile(graph, *example)  # noqa: SLF001
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(library, 1)  # noqa: SLF001
    return lambda: runner.run([x])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--layers", type=int, default=len(SHAPES), help="only so many of them")
    parser.add_argument("--groups", action="store_true", help="only those with some groups")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    register_lowerings()
    print("| channels | image | kernel | with the passes | GFLOP/s | no Winograd | none |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for before, after, width, kernel, stride, groups in SHAPES[: arguments.layers]:
        if arguments.groups and groups in {1, before}:
            continue
        module = Layers(before, after, kernel, stride, groups).eval()
        x = torch.rand(arguments.batch, before, width, width)
        x = x.contiguous(memory_format=torch.channels_last) if before > 3 else x
        arms = [compiled(module, x, passes) for passes in ARMS]
        with torch.no_grad():
            expected = module(x)
        for arm in arms:
            torch.testing.assert_close(arm(), expected, rtol=1e-4, atol=1e-4)
        times: list[list[float]] = [[] for _ in arms]
        for _ in range(arguments.rounds):
            for arm, taken in zip(arms, times, strict=True):
                start = time.perf_counter()
                arm()
                taken.append((time.perf_counter() - start) / LAYERS)
        own = estimate(times[0]).median
        pixels = arguments.batch * (-(-width // stride)) ** 2
        speed = 2e-9 * pixels * kernel**2 * before * after / groups / own
        others = " | ".join(f"{ratio(other, times[0]).text()} x" for other in times[1:])
        print(
            f"| {before} -> {after} | {width} | {kernel}, {stride}, {groups} | {own * 1e6:.1f} us "
            f"| {speed:.0f} | {others} |"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = directory
        main()
