"""Other CPUs, really run: emulated by Debian's qemu-user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable

import pytest
from wheels import Installed

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None, reason="needs Debian's qemu-user"
)

CODE = """
import json, torch
images = torch.linspace(0, 1, 3 * 64).reshape(3, 1, 8, 8)
try:
    from digits.models import net
    told = net(images).flatten().tolist()
except ImportError as error:
    told = str(error)
print(json.dumps([torch.backends.cpu.get_cpu_capability(), told]))
"""


@pytest.fixture(scope="module")
def example(installed: Callable[[str], Installed]) -> Installed:
    return installed("example_project")


def on_a(cpu: str, example: Installed) -> tuple[str, object]:
    site = next(example.python.parents[1].glob("lib/python*/site-packages"))
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", cpu, str(example.python.resolve()), "-W", "ignore", "-c", CODE],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": f"{example.directory}:{site}",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    capability, told = json.loads(done.stdout.splitlines()[-1])
    return capability, told


def test_a_cpu_with_avx2_gives_the_same_result(example: Installed) -> None:
    capability, result = on_a("Haswell", example)
    assert capability == "AVX2"
    _, expected = example.run(CODE)
    assert result == pytest.approx(expected, abs=1e-5)


def test_a_cpu_without_avx2_gets_the_error_and_no_signal(example: Installed) -> None:
    capability, told = on_a("Nehalem", example)
    assert capability == "DEFAULT"
    assert "this CPU lacks avx, avx2" in str(told)
