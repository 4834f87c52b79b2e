"""Engines that spread work over processes: the page's programs, on clusters of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from page_blocks import Block, blocks
from wheels import STANDALONE, Installed, of_kind

PAGE = blocks("docs/many-machines.md")

PROGRAMS = {
    "ray_data": "ray.data",
    "ray_serve": "ray.serve",
    "with_dask": "dask.distributed",
    "with_spark": "pyspark",
}
"""The programs of the page, and the module that each needs."""

WORKERS = Block(
    "python",
    """# workers.py
import json, os, pickle
import numpy as np
from dask.distributed import Client
from digits.models import net

def look(images):
    found = net(images)
    with open("/proc/self/smaps") as file:
        head, *rows = file.read().partition("weights.safetensors\\n")[2].splitlines()
    private = [row.split()[1] for row in [head, *rows] if row.startswith("Private_Dirty:")][0]
    return [found.tolist(), os.getpid(), int(private), os.environ["OMP_NUM_THREADS"]]

if __name__ == "__main__":
    images = np.random.default_rng(1).random((8, 1, 8, 8), dtype="float32")
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        told = client.run(look, images)
    same = all(np.array_equal(found, net(images)) for found, *_ in told.values())
    ours = [other for _, *other in told.values()]
    print(json.dumps([same, len(pickle.dumps(net)), ours]))
""",
)
"""What workers have of a model that they were sent."""


@pytest.fixture(scope="module")
def digits(installed: Callable[[str], Installed]) -> Installed:
    return of_kind(installed, "example_project", STANDALONE)


def run(program: Block, digits: Installed, directory: Path) -> str:
    """What a program prints where the wheel is installed; none of its processes is left."""
    (directory / program.file).write_text(program.content, encoding="utf-8")
    running = subprocess.Popen(
        [sys.executable, "-W", "ignore", program.file],
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(digits.directory),
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = running.communicate(timeout=240)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 0, output + errors
    return output


def test_the_page_has_these_programs() -> None:
    assert [Path(block.file).stem for block in PAGE if block.file] == list(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_what_the_page_shows(name: str, digits: Installed, tmp_path: Path) -> None:
    pytest.importorskip(PROGRAMS[name], reason=f"{PROGRAMS[name]} is not installed")
    if name == "with_spark" and not shutil.which("java"):
        pytest.skip("Spark needs Java")
    (place,) = [i for i, block in enumerate(PAGE) if block.file == f"{name}.py"]
    ((command, shown),) = PAGE[place + 1].commands()
    assert command == f"python {name}.py"
    printed = run(PAGE[place], digits, tmp_path)
    begin, _, end = shown.strip().partition("...")
    (line,) = [line for line in printed.splitlines() if line.startswith(begin)]
    assert line.endswith(end), printed


def test_workers_are_sent_a_name_and_share_the_weights(digits: Installed, tmp_path: Path) -> None:
    pytest.importorskip("dask.distributed", reason="dask.distributed is not installed")
    same, size, workers = json.loads(run(WORKERS, digits, tmp_path).splitlines()[-1])
    assert same
    assert size < 100
    pids, private, threads = zip(*workers, strict=True)
    assert len(set(pids)) == 2
    assert private == (0, 0)
    assert threads == ("1", "1")
