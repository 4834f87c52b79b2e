"""A model above 2 GB: built, installed, loaded and right, and the memory that takes.

It needs 20 GB of disk and some minutes: ``pytest -m slow tests/wheels/test_large.py``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wheels import edited, install, pip_wheel

LAYERS = 150
GB = 1e9
RUN = """
import json, torch
from large.net import Net
from large.models import net
module = Net(150).eval().requires_grad_(False)
for batch in (1, 3, 8):
    x = torch.randn(batch, 2048)
    torch.testing.assert_close(net(x), module(x), rtol=1e-3, atol=1e-4)
print(json.dumps(sum(tensor.nbytes for tensor in net.state_dict().values())))
"""


@pytest.mark.slow
def test_a_model_above_2_gb(
    project: Callable[[str], Path], tmp_path: Path, clean_python: Path
) -> None:
    source = edited(
        project("large"),
        ("args = [24]", f"args = [{LAYERS}]"),
        ('cpu-levels = ["x86-64-v2", "x86-64-v3"]', 'cpu-levels = ["x86-64-v3"]'),
    )
    with peak_memory() as peak:
        build = pip_wheel(source)
    installed = install(build, tmp_path / "installed", clean_python)
    assert "more than 100 MB" in build.output
    assert installed.run(RUN, env={}) > 2.5 * GB
    assert max(peak) < 12 * GB, max(peak) / GB


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """What all processes below this one have taken together, measured again and again, in bytes."""
    measured = [0]
    done = threading.Event()

    def measure() -> None:
        while not done.wait(0.2):
            measured.append(sum(_memory(pid) for pid in _descendants(os.getpid())))

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield measured
    finally:
        done.set()
        thread.join()


def _descendants(pid: int) -> list[int]:
    children = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += [int(child) for child in file.read_text().split()]
    return children + [other for child in children for other in _descendants(child)]


def _memory(pid: int) -> int:
    """The proportional set size of a process; pages of files that are mapped count, too."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
