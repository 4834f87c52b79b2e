"""How near products of few rows come to the speed of memory: with the passes and without them.

Decoding one token after another multiplies one row, or a few, by weights that no cache holds. So
layers of each size are compiled until their weights are 256 MB, once with the passes for linear
layers and once without. Both give eager's result, and take turns with a sum over 256 MB, whose time
for as many bytes is the unit of the table. With ``--bfloat16`` the whole module is in bfloat16.
"""

from __future__ import annotations

import argparse
import operator
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from aotbuild.passes.pipeline import apply
from aotbuild.passes.template.operators import register_lowerings
from aotbuild.steps.tune.statistics import estimate

BYTES = 256 << 20
WEIGHTS = [(1024, 4096), (4096, 1024), (2048, 2048), (512, 1408)]
"""Columns and rows of weights as ``nn.Linear`` has them."""
ROWS = [1, 2, 4]


class Layers(nn.Module):
    """Layers over one input, and the sum of their results."""

    def __init__(self, k: int, n: int, count: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(k, n) for _ in range(count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (rows, k)."""
        total: torch.Tensor = self.layers[0](x)
        for layer in list(self.layers)[1:]:
            total = total + layer(x)
        return total


def compiled(module: nn.Module, x: torch.Tensor, passes: list[str]) -> Callable[[Any], Any]:
    """The layers compiled with some passes, for any number of rows."""
    rows = torch.export.Dim("rows", min=1, max=256)
    with torch.no_grad():
        program = torch.export.export(module, (x.repeat(8, 1),), dynamic_shapes=({0: rows},))
        graph: Any = program.module(check_guards=False)
        apply(graph, passes)
        example: Any = program.example_inputs
        options = {"aot_inductor.package_constants_in_so": False}
        library: Any = torch._inductor.aot_compile(graph, *example, options=options)  # noqa: SLF001
    runner = torch._C._aoti.AOTIModelContainerRunnerCpu(library, 1)  # noqa: SLF001
    names = runner.get_constant_names_to_original_fqns()
    find = {name: operator.attrgetter(fqn)(graph).detach() for name, fqn in names.items()}
    runner.update_constant_buffer(find, use_inactive=False, validate_full_updates=True)
    return lambda x: runner.run([x])[0]


def seconds(call: Callable[[Any], Any], given: Any) -> float:
    """What a call takes."""
    start = time.perf_counter()
    call(given)
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true", help="a module in bfloat16")
    parser.add_argument("--alone", action="store_true", help="not without the passes")
    given = parser.parse_args()
    dtype, tolerance = (torch.bfloat16, 2e-1) if given.bfloat16 else (torch.float32, 1e-4)
    torch.set_num_threads(given.threads)
    register_lowerings()
    buffer = torch.ones(BYTES // 4)
    print("| k | n | rows | read | with the passes | by reading | without them |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for k, n in WEIGHTS:
        count = BYTES // (k * n * dtype.itemsize)
        module = Layers(k, n, count).eval().to(dtype)
        size = count * k * n * dtype.itemsize
        first = torch.rand(1, k, dtype=dtype)
        arms = [compiled(module, first, each) for each in ([["linear"], []][: 2 - given.alone])]
        for rows in ROWS:
            x = torch.rand(rows, k, dtype=dtype)
            with torch.no_grad():
                expected = module(x).float()
            atol = tolerance * expected.abs().max().item()
            for arm in arms:
                torch.testing.assert_close(arm(x).float(), expected, rtol=0, atol=atol)
            calls = [lambda _: buffer.sum(), *arms]
            times: list[list[float]] = [[] for _ in calls]
            for _ in range(given.rounds):
                for call, taken in zip(calls, times, strict=True):
                    taken.append(seconds(call, x))
            scale = size / BYTES
            times[0] = [scale * each for each in times[0]]
            read, own, *other = (estimate(each).median for each in times)
            best = min(times[1]) / min(times[0])
            columns = [
                *map(str, (k, n, rows)),
                f"{size / read * 1e-9:.1f} GB/s",
                f"{own / count * 1e6:.1f} us",
                f"{own / read:.2f} x (best by best {best:.2f})",
                *(f"{each / read:.2f} x" for each in other),
            ]
            print(f"| {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = directory
        main()
