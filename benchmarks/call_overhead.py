"""Time of a checked call beyond that of the bare runner's ``run``, on one thread.

Two models: ``net`` of the example (one tensor in, one out), and ``mixed`` of the test package zoo
(two inputs that share a dimension, one of them keyword-only; a nested dict out). In one process,
blocks of calls of both kinds take turns; the table shows the median difference of two neighbours.
A second bare arm shows what the machine alone makes of such a difference.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import (
    REPOSITORY,
    Row,
    copy_project,
    example_wheel,
    install,
    pip_wheel,
    python_json,
    show,
)

BOUND = 8

CALLS = """
import importlib, json, statistics, sys, time
import torch

module, name, blocks, calls, *inputs = sys.argv[1:]
blocks, calls = int(blocks), int(calls)
torch.set_num_threads(1)
torch.manual_seed(0)
model = getattr(importlib.import_module(module), name)
arguments = {key: torch.rand(*map(int, shape.split("x"))) for key, _, shape in
             (text.partition("=") for text in inputs)}
run = model._runs[model.device]  # the runner's own method, without a check
tensors = [arguments[spec.name] for spec in model._manifest.inputs]
first = next(iter(arguments.values()))

if len(arguments) == 1:
    def checked():
        for _ in range(calls):
            model(first)
else:
    def checked():
        for _ in range(calls):
            model(**arguments)

def bare():
    for _ in range(calls):
        run(tensors)

def microseconds(block):
    start = time.perf_counter()
    block()
    return (time.perf_counter() - start) / calls * 1e6

arms = {"checked": checked, "bare": bare, "again": bare}
names = list(arms)
times = {name: [] for name in names}
for i in range(-1, blocks):
    for name in names[i % 3:] + names[:i % 3]:
        spent = microseconds(arms[name])
        if i >= 0:  # the first round warms up
            times[name].append(spent)

def above(name):
    return statistics.median(t - b for t, b in zip(times[name], times["bare"], strict=True))

print(json.dumps([*(statistics.median(times[name]) for name in ("checked", "bare")),
                  above("checked"), above("again")]))
"""


def main() -> None:
    """Build both models, measure them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--calls", type=int, default=200, help="calls in a block")
    parser.add_argument("--wheel", type=Path, help="wheel of the example; built when left out")
    options = parser.parse_args()
    repeats = [str(options.blocks), str(options.calls)]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        wheel = options.wheel or example_wheel(directory)
        zoo = copy_project(REPOSITORY / "tests" / "packages" / "zoo", directory / "zoo")
        # Of the zoo's models, only the one that is measured.
        (zoo / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.20)\nproject(zoo LANGUAGES NONE)\n"
            "find_package(AotBuild REQUIRED)\naotbuild_add_model(mixed)\n",
            encoding="utf-8",
        )
        for built in (wheel, pip_wheel(zoo, directory / "zoo-dist")):
            install(built, directory / "site")
        env = {"PYTHONPATH": str(directory / "site"), "OMP_NUM_THREADS": "1"}
        for label, *call in (
            ("net(image)", "digits.models", "net", *repeats, "image=1x1x8x8"),
            ("mixed(x=x, mask=mask)", "zoo.models", "mixed", *repeats, "x=4x8", "mask=4x8"),
        ):
            checked, bare, above, noise = python_json("-W", "ignore", "-c", CALLS, *call, env=env)
            rows += [
                Row(label, checked, "us"),
                Row("  the bare runner", bare, "us"),
                Row("  above it", above, "us", BOUND),
                Row("  bare above bare (noise)", noise, "us"),
            ]
    show(rows)


if __name__ == "__main__":
    main()
