"""What CPU levels gain on pointwise code: one wheel, every level forced in turn, on one thread.

The models are ``curve`` of tests/packages/levels and those of ``ACTIVATIONS``, on 65,536 floats.
Blocks of calls of all levels take turns in one process; each level gives the eager result before
it is timed. Levels that this CPU lacks are not in the table. The bounds hold for the geometric mean
of the models; what a level gains on each depends on the operators: square roots and divisions have
instructions in every level, where exponentials and polynomials do not.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import geometric_mean

from common import REPOSITORY, Row, copy_project, install, pip_wheel, python_json, show

BOUNDS = {("x86-64-v3", "x86-64-v2"): 1 / 4, ("x86-64-v4", "x86-64-v3"): 1 / 1.2}
"""The time of one level by that of the level below."""

ACTIVATIONS = {
    "gelu": "functional.gelu(x) + 0.1",
    "tanh": "torch.tanh(x) * 1.1 + 0.1",
    "silu": "functional.silu(x) + torch.sin(x) + torch.log1p(x.abs())",
    "relu": "x * 1.01 + torch.relu(x * 0.5 - 0.1)",
}
"""What each of these models does to its input four times."""

MODULE = '''"""Pointwise models."""

import torch
from torch import nn
from torch.nn import functional
'''

CLASS = """

class {title}(nn.Module):
    def forward(self, x):
        for _ in range(4):
            x = {code}
        return x
"""

DECLARATION = """
[tool.aotbuild.models.{name}]
source = "levels.activations:{title}"
cpu-levels = ["x86-64-v2", "x86-64-v3", "x86-64-v4", "armv8"]
inputs.x = {{ shape = ["n"] }}
dims.n = {{ min = 1, max = 1048576, example = 65536 }}
"""

CALLS = """
import importlib, json, os, statistics, sys, time
import torch

name, source, blocks = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(1)
x = torch.linspace(-3, 3, 65536)
found = getattr(importlib.import_module("levels.models._" + name), name)
targets = [variant.target for variant in found._manifest.variants]
module, _, attribute = source.partition(":")
with torch.no_grad():
    expected = getattr(importlib.import_module(module), attribute)()(x)
arms = {}
for target in targets:
    os.environ["AOTBUILD_CPU_LEVEL"] = target.removeprefix("cpu-")
    try:
        model = type(found)(found._package, name)
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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=100)
    show(measure(parser.parse_args().blocks))


def measure(blocks: int) -> list[Row]:
    """Build the wheel and time its levels."""
    sources = {"curve": "levels.curve:Curve"}
    sources |= {name: f"levels.activations:{name.title()}" for name in ACTIVATIONS}
    found = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        project = copy_project(REPOSITORY / "tests" / "packages" / "levels", directory / "levels")
        _add_activations(project)
        install(pip_wheel(project, directory / "dist"), directory / "site")
        env = {"PYTHONPATH": str(directory / "site")}
        for model, source in sources.items():
            found[model] = python_json("-c", CALLS, model, source, str(blocks), env=env)
    rows = []
    for model, (medians, _) in found.items():
        rows += [Row(f"{model}, {level}", value, "ms") for level, value in medians.items()]
    for (one, other), bound in BOUNDS.items():
        pair = f"{one} {other}"
        ratios = [ratios[pair] for _, ratios in found.values() if pair in ratios]
        if ratios:
            rows.append(Row(f"time of {one} by {other}", geometric_mean(ratios), "", bound))
    return rows


def _add_activations(project: Path) -> None:
    code, declared = MODULE, ""
    for name, text in ACTIVATIONS.items():
        code += CLASS.format(title=name.title(), code=text)
        declared += DECLARATION.format(name=name, title=name.title())
    (project / "levels" / "activations.py").write_text(code)
    with (project / "pyproject.toml").open("a") as file:
        file.write(declared)


if __name__ == "__main__":
    main()
