"""What a checked call costs beyond the model, on one thread, in one process for each model.

Models that do next to nothing: ``one`` (``x + 1`` on 8 floats), ``two`` (two inputs that share a
dynamic dimension, a dict out), ``six`` (a nested dict of six inputs); and ``net`` of the example.
Blocks of calls of all arms take turns; every arm gives the right result before it is timed.

The arms: the call as a user writes it, with the native engine and with torch's own runner; that
runner's ``run``, unchecked, on a list of tensors; and, for models without weights, the package of
``torch._inductor.aoti_compile_and_package``, loaded by ``aoti_load_package``. The table shows
medians, and the median difference of two neighbours. A second bare arm shows what the machine
alone makes of such a difference.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import Row, copy_project, example_wheel, install, pip_wheel, python_json, show

HERE = Path(__file__).resolve().parent
BOUNDS = {"one": 1.5, "two": 1.5, "six": 5, "net": 8}
"""Microseconds above torch's unchecked runner."""

SETUP = {
    "one": "args = (torch.rand(8),)",
    "two": "args = (torch.rand(4, 4), torch.rand(4, 4))",
    "six": "args = ({g: {k: torch.rand(4, 4) for k in 'abc'} for g in ('first', 'second')},)",
    "net": "args = (torch.rand(1, 1, 8, 8),)",
}

CALLS = """
import importlib, json, os, statistics, sys, tempfile, time
import torch
from torch.utils import _pytree as pytree

package, name, setup, blocks, calls = sys.argv[1:]
blocks, calls = int(blocks), int(calls)
torch.set_num_threads(1)
torch.manual_seed(0)
exec(setup)
tensors = pytree.tree_leaves(args)
compiled = importlib.import_module(package + ".models")
native = getattr(compiled, name)
root, manifest = native._package, native._manifest
os.environ["AOTBUILD_ENGINE"] = "torch"
module = importlib.import_module(f"{package}.models._{name}")
plain = getattr(module, type(native).__name__)(root, name)
variant = next(variant for variant in manifest.variants if variant.target == native.target)
library = root / variant.library.file
runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1)
weights = importlib.import_module(package + ".models._runtime.weights")
stored = weights.open_weights(root / manifest.weights.file, manifest.weights)
constants = {c.name: stored.tensor(c) for c in variant.constants}
runner.update_constant_buffer(constants, False, True, True)
run = runner.run

arms = {
    "native": lambda: native(*args),
    "runner": lambda: plain(*args),
    "bare": lambda: run(tensors),
    "again": lambda: run(tensors),
}
if package == "overhead":
    modules = importlib.import_module("overhead.modules")
    module = getattr(modules, name.capitalize())()
    with tempfile.TemporaryDirectory() as directory, torch.no_grad():
        batch = torch.export.Dim("batch", max=64)
        dynamic = None if name == "one" else pytree.tree_map(lambda _: {0: batch}, args)
        exported = torch.export.export(module, args, dynamic_shapes=dynamic)
        path = torch._inductor.aoti_compile_and_package(
            exported, package_path=directory + "/model.pt2"
        )
        loaded = torch._inductor.aoti_load_package(path)
    arms["package"] = lambda: loaded(*args)
    arms["eager"] = lambda: module(*args)
    with torch.no_grad():
        expected = pytree.tree_leaves(module(*args))
else:
    expected = pytree.tree_leaves(plain(*args))
for name, arm in arms.items():
    torch.testing.assert_close(pytree.tree_leaves(arm()), expected, msg=name)

def microseconds(arm):
    start = time.perf_counter()
    for _ in range(calls):
        arm()
    return (time.perf_counter() - start) / calls * 1e6

names = list(arms)
times = {name: [] for name in names}
with torch.no_grad():
    for i in range(-1, blocks):
        for name in names[i % len(names):] + names[:i % len(names)]:
            spent = microseconds(arms[name])
            if i >= 0:  # the first round warms up
                times[name].append(spent)

def above(name):
    return statistics.median(t - b for t, b in zip(times[name], times["bare"], strict=True))

print(json.dumps({
    "medians": {name: statistics.median(found) for name, found in times.items()},
    "above": {name: above(name) for name in names},
}))
"""

LABELS = {
    "native": "",
    "runner": "by torch's runner",
    "bare": "that runner's run, unchecked",
    "package": "aoti_load_package",
    "eager": "eager",
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--calls", type=int, default=200, help="calls in a block")
    parser.add_argument("--wheel", type=Path, help="wheel of the example; built when left out")
    options = parser.parse_args()
    show(measure(options.blocks, options.calls, options.wheel))


def measure(blocks: int, calls: int = 200, example: Path | None = None) -> list[Row]:
    """Build the models and measure them."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        wheel = example or example_wheel(directory)
        overhead = copy_project(HERE / "overhead", directory / "overhead")
        for built in (wheel, pip_wheel(overhead, directory / "overhead-dist")):
            install(built, directory / "site")
        env = {"PYTHONPATH": str(directory / "site"), "OMP_NUM_THREADS": "1"}
        for name, bound in BOUNDS.items():
            package = "digits" if name == "net" else "overhead"
            found = python_json(
                *("-W", "ignore", "-c", CALLS, package, name, SETUP[name]),
                *(str(blocks), str(calls)),
                env=env,
            )
            rows += [
                Row(f"{name} {LABELS[arm]}".rstrip(), median, "us")
                for arm, median in found["medians"].items()
                if arm in LABELS
            ]
            above = found["above"]
            rows += [
                Row("  above bare", above["native"], "us", bound),
                Row("  by torch's runner", above["runner"], "us"),
                Row("  bare above bare (noise)", above["again"], "us"),
            ]
    return rows


if __name__ == "__main__":
    main()
