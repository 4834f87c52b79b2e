"""Time of ``pip wheel`` of the example, against bare AOTInductor compiles of the same models.

The example's model with a state is left out, since bare AOTInductor does not compile it.

The bare arm is ``torch._inductor.aot_compile`` with default options, one fresh process for each
model; only the call is timed, not ``import torch`` and not the export. The other arm is the whole
``pip wheel --no-build-isolation --no-deps``: imports, export, compile, verify, bundle and zip.
Every run has a cache and a temporary directory of its own, and the arms take turns.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from common import EXAMPLE, Row, copy_project, keep_models, pip_wheel, python_json, show

MODELS = {"net": "digits.network:Net", "denoiser": "digits.denoiser:Denoiser"}
COLD = 0.6
"""Of the two bare compiles."""
CACHED = 6.0
"""Seconds."""

BARE = """
import importlib, json, sys, time
import torch
import torch._inductor
from safetensors.torch import load_file

source, weights = sys.argv[1:]
module, name = source.split(":")
model = getattr(importlib.import_module(module), name)()
model.load_state_dict(load_file(weights))
model.eval()
with torch.no_grad():
    batch = torch.export.Dim("batch", min=1, max=256)
    program = torch.export.export(model, (torch.randn(4, 1, 8, 8),), dynamic_shapes=({0: batch},))
    args, kwargs = program.example_inputs
    start = time.perf_counter()
    torch._inductor.aot_compile(program.module(check_guards=False), args, kwargs)
    print(json.dumps(time.perf_counter() - start))
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    show(measure(parser.parse_args().repeats))


def measure(repeats: int) -> list[Row]:
    """Measure both arms in turn."""
    bare: list[float] = []
    cold: list[float] = []
    cached: list[float] = []
    for i in range(repeats):
        # Each second round begins with the other arm: a drift of the machine hits both.
        for arm in ("bare", "wheel") if i % 2 == 0 else ("wheel", "bare"):
            if arm == "bare":
                bare.append(sum(map(bare_seconds, MODELS)))
            else:
                first, second = wheel_seconds()
                cold.append(first)
                cached.append(second)
        print(
            f"round {i + 1}: bare {bare[-1]:.1f} s, pip wheel {cold[-1]:.1f} s, "
            f"again {cached[-1]:.1f} s",
            flush=True,
        )
    ratio = statistics.median(w / b for w, b in zip(cold, bare, strict=True))
    return [
        Row("two bare aot_compile calls", statistics.median(bare), "s"),
        Row("pip wheel", statistics.median(cold), "s"),
        Row("pip wheel / bare, median of the rounds", ratio, "x", COLD),
        Row("pip wheel, all in the cache", statistics.median(cached), "s", CACHED),
    ]


def bare_seconds(model: str) -> float:
    """Seconds of one bare compile."""
    with tempfile.TemporaryDirectory() as directory:
        env = {**fresh(directory), "PYTHONPATH": str(EXAMPLE / "src")}
        weights = EXAMPLE / "weights" / f"{model}.safetensors"
        return float(python_json("-W", "ignore", "-c", BARE, MODELS[model], weights, env=env))


def wheel_seconds() -> tuple[float, float]:
    """Seconds of one ``pip wheel``, and of another one after it."""
    with tempfile.TemporaryDirectory() as directory:
        env = fresh(directory)
        times = []
        for place in ("one", "two"):
            project = copy_project(EXAMPLE, Path(directory) / place / "example_project")
            keep_models(project, MODELS)  # those that the bare arm compiles
            start = time.perf_counter()
            pip_wheel(project, Path(directory) / place / "dist", env)
            times.append(time.perf_counter() - start)
        return times[0], times[1]


def fresh(directory: str) -> dict[str, str]:
    """An environment in which nothing is cached: precompiled headers lie under ``TMPDIR``."""
    temporary = Path(directory) / "tmp"
    temporary.mkdir()
    return {
        "TMPDIR": str(temporary),
        "TORCHINDUCTOR_CACHE_DIR": str(temporary / "inductor"),
        "AOTBUILD_CACHE_DIR": str(Path(directory) / "cache"),
    }


if __name__ == "__main__":
    main()
