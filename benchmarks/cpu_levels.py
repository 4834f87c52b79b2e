"""What CPU levels gain on pointwise code: one wheel, every level forced in turn, on one thread.

The model is ``curve`` of tests/packages/levels, 65,536 floats. Blocks of calls of all levels take
turns in one process; each level gives the eager result before it is timed. Levels that this CPU
lacks are not in the table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import REPOSITORY, Row, copy_project, install, pip_wheel, python_json, show

BOUNDS = {("x86-64-v3", "x86-64-v2"): 1 / 4, ("x86-64-v4", "x86-64-v3"): 1 / 1.2}
"""The time of one level by that of the level below."""

CALLS = """
import importlib, json, os, statistics, sys, time
import torch
from levels.curve import Curve

blocks = int(sys.argv[1])
torch.set_num_threads(1)
x = torch.linspace(-3, 3, 65536)
module = importlib.import_module("levels.models._curve")
root = module.curve._package
targets = [variant.target for variant in module.curve._manifest.variants]
with torch.no_grad():
    expected = Curve()(x)
arms = {}
for target in targets:
    os.environ["AOTBUILD_CPU_LEVEL"] = target.removeprefix("cpu-")
    try:
        model = type(module.curve)(root, "curve")
    except ImportError:
        continue
    assert model.target == target
    torch.testing.assert_close(model(x), expected)
    arms[target.removeprefix("cpu-")] = model
times = {level: [] for level in arms}
for _ in range(blocks):
    for level, model in arms.items():
        start = time.perf_counter()
        for _ in range(4):
            model(x)
        times[level].append((time.perf_counter() - start) / 4)
ratios = {}
for one in arms:
    for other in arms:
        pairs = zip(times[one], times[other])
        ratios[one + " " + other] = statistics.median(a / b for a, b in pairs)
medians = {level: statistics.median(found) * 1e3 for level, found in times.items()}
print(json.dumps([medians, ratios]))
"""


def main() -> None:
    """Build the wheel, time its levels, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        project = copy_project(REPOSITORY / "tests" / "packages" / "levels", directory / "levels")
        install(pip_wheel(project, directory / "dist"), directory / "site")
        env = {"PYTHONPATH": str(directory / "site")}
        medians, ratios = python_json("-c", CALLS, str(given.blocks), env=env)
    rows = [Row(f"curve, {level}", value, "ms") for level, value in medians.items()]
    rows += [
        Row(f"time of {one} by {other}", ratios[f"{one} {other}"], "", bound)
        for (one, other), bound in BOUNDS.items()
        if f"{one} {other}" in ratios
    ]
    show(rows)


if __name__ == "__main__":
    main()
