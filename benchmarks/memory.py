"""Memory of three processes that run a model of 400 MB, and how long each takes to load it.

The wheel of [large](large), plain and with freezing, for two CPU levels; beside it the same model
as torch itself compiles it, with the weights in the library and as a package for
``aoti_load_package``. Of each arm three processes load the model, call it and stay; what three take
that have only imported torch is told apart.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from common import REPOSITORY, Row, copy_project, install, pip_wheel, python, show

PROCESSES = 3
LAYERS = 24
LARGE = REPOSITORY / "benchmarks" / "large"
MB = 1e6

BARE = "net = None"
WHEEL = "from large.models import net"
EMBEDDED = """
runner = torch._C._aoti.AOTIModelContainerRunnerCpu(os.environ["LIBRARY"], 1)
net = lambda x: runner.run([x])
"""
PACKAGE = 'net = torch._inductor.aoti_load_package(os.environ["PACKAGE"])'

STAY = """
import json, os, sys, time
import torch
if {inductor!r}:
    import torch._inductor
torch.set_num_threads(1)
if {runtime!r}:
    import large.models._runtime  # Python code, once for all models; import_time.py has it
start = time.perf_counter()
{load}
loaded = (time.perf_counter() - start) * 1e3
if net is not None:
    for _ in range(2):
        net(torch.ones(4, 2048))
print(json.dumps(loaded), flush=True)
sys.stdin.readline()
"""

COMPILE = """
import sys, torch
from large.net import Net
with torch.no_grad():
    net = Net({layers}).eval().requires_grad_(False)
    dims = {{"x": {{0: torch.export.Dim("batch", min=1, max=8)}}}}
    program = torch.export.export(net, (torch.ones(4, 2048),), dynamic_shapes=dims)
    library = torch._inductor.aot_compile(
        program.module(), (torch.ones(4, 2048),),
        options={{"aot_inductor.output_path": sys.argv[1]}},
    )
    torch._inductor.aoti_compile_and_package(program, package_path=sys.argv[2])
"""


@dataclass(frozen=True)
class Taken:
    """What the processes of an arm take."""

    total: float
    """Proportional set size of all of them, in MB."""
    private: float
    """Private dirty memory of one, in MB."""
    load: float
    """Median time to load the model, in ms."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=LAYERS, help="17 MB each")
    show(measure(parser.parse_args().layers))


def measure(layers: int = LAYERS) -> list[Row]:
    """Build the wheels and libraries and measure all arms."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sites = {freezing: _site(directory, layers, freezing) for freezing in ("false", "true")}
        library, package = directory / "net.so", directory / "net.pt2"
        source = {"PYTHONPATH": str(LARGE / "src")}
        python("-W", "ignore", "-c", COMPILE.format(layers=layers), library, package, env=source)
        arms = {
            "plain": (WHEEL, {"PYTHONPATH": str(sites["false"])}),
            "frozen": (WHEEL, {"PYTHONPATH": str(sites["true"])}),
            "weights in the library": (EMBEDDED, {"LIBRARY": str(library)}),
            "aoti_load_package": (PACKAGE, {"PACKAGE": str(package)}),
        }
        bare = _measured(BARE, {})
        weights = layers * (2048 * 2048 + 3 * 2048) * 4 / MB
        rows = [
            Row("the weights themselves", weights, "MB"),
            Row(f"{PROCESSES} processes with torch alone", bare.total, "MB"),
        ]
        for freezing, site in sites.items():
            stored = (site / "large/models/weights.safetensors").stat().st_size / MB
            told = "weights in the wheel, " + ("frozen" if freezing == "true" else "plain")
            rows.append(Row(told, stored, "MB", bound=round(1.01 * weights, 1)))
        for arm, (load, env) in arms.items():
            taken = _measured(load, env)
            ours = arm in {"plain", "frozen"}
            limits = (round(1.25 * weights, 1), round(0.1 * weights, 1), 20)
            measured = (taken.total - bare.total, taken.private - bare.private, taken.load)
            whats = ("more than torch alone", "private of one process", "load")
            units = ("MB", "MB", "ms")
            rows += [
                Row(f"{arm}, {what}", value, unit, bound=limit if ours else None)
                for what, value, unit, limit in zip(whats, measured, units, limits, strict=True)
            ]
    return rows


def _site(directory: Path, layers: int, freezing: str) -> Path:
    """The installed wheel."""
    project = copy_project(LARGE, directory / f"freezing-{freezing}")
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text().replace("args = [24]", f"args = [{layers}]")
    pyproject.write_text(text.replace("freezing = false", f"freezing = {freezing}"))
    site = directory / f"site-{freezing}"
    install(pip_wheel(project, directory / f"dist-{freezing}"), site)
    return site


def _measured(load: str, env: dict[str, str]) -> Taken:
    with _staying(load, env) as (processes, loads):
        rollups = [rollup(process.pid) for process in processes]
    return Taken(
        sum(rollup["Pss"] for rollup in rollups),
        statistics.median(rollup["Private_Dirty"] for rollup in rollups),
        statistics.median(loads),
    )


_Staying: TypeAlias = tuple[list[subprocess.Popen[str]], list[float]]


@contextlib.contextmanager
def _staying(load: str, env: dict[str, str]) -> Iterator[_Staying]:
    """Processes that have loaded the model and called it, one after the other, and their times."""
    code = STAY.format(load=load, inductor="_inductor" in load, runtime="large" in load)
    processes: list[subprocess.Popen[str]] = []
    loads: list[float] = []
    try:
        for _ in range(PROCESSES):
            process = subprocess.Popen(
                [sys.executable, "-P", "-W", "ignore", "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", **env},
            )
            processes.append(process)
            assert process.stdout  # noqa: S101  # it is a pipe
            loads.append(json.loads(process.stdout.readline()))
        yield processes, loads
    finally:
        for process in processes:
            process.communicate("\n")


def rollup(pid: int) -> dict[str, float]:
    """What the kernel tells of the memory of a process, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    fields = dict(line.split(":") for line in lines)
    return {name: int(value.split()[0]) * 1024 / MB for name, value in fields.items()}


if __name__ == "__main__":
    main()
