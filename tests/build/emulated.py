"""Other CPUs, really run: emulated by Debian's qemu-user."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from wheels import Installed

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None, reason="needs Debian's qemu-user"
)


def emulated(cpu: str, installed: Installed, code: str) -> str:
    """Run code on another CPU where there is only torch and a wheel; the last line it prints."""
    site = next(installed.python.parents[1].glob("lib/python*/site-packages"))
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", cpu, str(installed.python.resolve()), "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": f"{installed.directory}:{site}",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.splitlines()[-1]
