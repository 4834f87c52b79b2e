"""What another version of torch costs: calls, imports and builds beside those of the first given.

``python other_torch.py 2.13.0=.venv/bin/python 2.15.0=.venv-2.15.0/bin/python``, environments that
``make venv TORCH=2.15.0`` makes. Each version builds the six architectures of the suite latency,
stand-alone and for torch, and runs what it built; the example's wheel of the first version is
imported beside each; each builds the example with empty caches. Processes of all versions take
turns.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from build_time import fresh
from cases import CASES
from common import EXAMPLE, Row, copy_project, install, keep_models, pip_wheel, python_json, show
from import_time import IMPORT

from aotbuild.steps.tune.statistics import ratio

MODELS = ("mlp", "resnet18", "mobilenet_v2", "minilm", "vit_tiny", "lstm")
HERE = Path(__file__).resolve().parent
PINNED = "torch==2.13.0"
CALLS = 1.03
"""Of the time of the first version's."""
BUILD = 1.1
"""Of the first version's."""
FIRST, LATER = 60, 1
"""Milliseconds that an import takes longer with a version that the build did not know."""

CALL = """
import json, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[2]]
kind, name = sys.argv[3:]
from cases import CASES
if kind == "torch":
    import torch
    torch.set_num_threads(1)
import importlib
net = getattr(importlib.import_module("gallery.models"), name)
given = CASES[name].arrays()
if kind == "torch":
    given = [torch.from_numpy(array) for array in given]
start = time.perf_counter()
for _ in range(5):
    net(*given)
once = (time.perf_counter() - start) / 5
count = max(1, round(0.05 / once))
for line in sys.stdin:
    for _ in range(max(1, count // 10)):
        net(*given)
    start = time.perf_counter()
    for _ in range(count):
        net(*given)
    print((time.perf_counter() - start) / count, flush=True)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environments", nargs="+", metavar="VERSION=PYTHON")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--builds", type=int, default=3)
    options = parser.parse_args()
    # Not resolved: the interpreter of an environment is a link.
    pythons = {
        version: os.path.abspath(python)  # noqa: PTH100
        for version, python in (each.split("=", 1) for each in options.environments)
    }
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for kind in ("standalone", "torch"):
            sites = {v: _gallery(p, v, kind, Path(name) / kind / v) for v, p in pythons.items()}
            rows += _calls(pythons, sites, kind, options.rounds)
        rows += _imports(pythons, Path(name), options.rounds)
    rows += _builds(pythons, options.builds)
    show(rows)


def _project(source: Path, directory: Path, version: str) -> Path:
    """A copy of a project that is built with a version."""
    project = copy_project(source, directory / "project")
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(PINNED, f"torch=={version}"))
    return project


def _installed(python: str, project: Path, out: Path, env: Mapping[str, str] | None = None) -> Path:
    """Build the wheel of a project, and install it below ``out``."""
    install(pip_wheel(project, out / "dist", env, python), out / "site")
    return out / "site"


def _gallery(python: str, version: str, kind: str, out: Path) -> Path:
    """The architectures as a version builds them."""
    project = _project(HERE / "models", out, version)
    keep_models(project, MODELS)
    with (project / "pyproject.toml").open("a") as pyproject:
        pyproject.write(f'\n[tool.aotbuild]\nruntime = "{kind}"\n')
    site = _installed(python, project, out)
    print(f"  {version}, {kind}: built", flush=True)
    return site


def _calls(
    pythons: Mapping[str, str], sites: Mapping[str, Path], kind: str, rounds: int
) -> list[Row]:
    """The time of a call of each model, by that of the first version."""
    first, *others = pythons
    rows = []
    for name in MODELS:
        times: dict[str, list[float]] = {version: [] for version in pythons}
        with contextlib.ExitStack() as stack:
            started = {
                version: stack.enter_context(_calling(python, sites[version], kind, name))
                for version, python in pythons.items()
            }
            for i in range(rounds):
                for version in list(started)[:: 1 if i % 2 else -1]:
                    times[version].append(started[version]())
        label = f"{CASES[name].label}, {kind}"
        rows.append(Row(f"{label}: {first}", statistics.median(times[first]) * 1e3, "ms"))
        for version in others:
            by_first = ratio(times[version], times[first]).median
            rows.append(Row(f"  {version} by {first}", by_first, "x", CALLS))
        print(f"  {label}: done", flush=True)
    return rows


@contextlib.contextmanager
def _calling(python: str, site: Path, kind: str, name: str) -> Iterator[Any]:
    """A process that has opened a model, and what gives the seconds of a call in it."""
    process = subprocess.Popen(
        [python, "-P", "-c", CALL, str(site), str(HERE), kind, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101
    stdin, stdout = process.stdin, process.stdout

    def seconds() -> float:
        stdin.write("\n")
        stdin.flush()
        return float(stdout.readline())

    try:
        yield seconds
    finally:
        stdin.close()
        process.wait()


def _imports(pythons: Mapping[str, str], directory: Path, rounds: int) -> list[Row]:
    """What the import of the example takes with a version that its build did not know."""
    first, *others = pythons
    env = {"AOTBUILD_PROFILE": "torch"}
    sites = {}
    for version, python in pythons.items():
        out = directory / "digits" / version
        sites[version] = _installed(python, _project(EXAMPLE, out, version), out, env)
    cache = directory / "cache"
    rows = []
    for version in others:
        spent: dict[str, list[float]] = {"known": [], "first": [], "later": []}
        for _ in range(rounds + 1):
            shutil.rmtree(cache, ignore_errors=True)
            for kind, built in (("known", version), ("first", first), ("later", first)):
                env = {
                    "PYTHONPATH": str(sites[built]),
                    "OMP_NUM_THREADS": "1",
                    "XDG_CACHE_HOME": str(cache),
                }
                took = python_json("-c", IMPORT, env=env, interpreter=pythons[version])
                spent[kind].append(took)
        # The first round reads the files from the disk.
        known, new, later = (statistics.median(values[1:]) for values in spent.values())
        rows += [
            Row(f"import with {version}, built by it", known, "ms"),
            Row(f"  built by {first}: longer the first time", new - known, "ms", FIRST),
            Row(f"  built by {first}: longer afterwards", later - known, "ms", LATER),
        ]
    return rows


def _builds(pythons: Mapping[str, str], rounds: int) -> list[Row]:
    """The time of ``pip wheel`` of the example with empty caches, by that of the first version."""
    first, *others = pythons
    times: dict[str, list[float]] = {version: [] for version in pythons}
    for i in range(rounds):
        for version in list(pythons)[:: 1 if i % 2 else -1]:
            with tempfile.TemporaryDirectory() as name:
                project = _project(EXAMPLE, Path(name), version)
                env = fresh(name)
                start = time.perf_counter()
                pip_wheel(project, Path(name) / "dist", env, pythons[version])
                times[version].append(time.perf_counter() - start)
        print(f"  round {i + 1} of builds: done", flush=True)
    rows = [Row(f"pip wheel of the example: {first}", statistics.median(times[first]), "s")]
    for version in others:
        by_first = ratio(times[version], times[first]).median
        rows.append(Row(f"  {version} by {first}", by_first, "x", BUILD))
    return rows


if __name__ == "__main__":
    main()
