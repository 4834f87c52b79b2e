"""What a user can get wrong about a project: one block in pip's output, no traceback, no wheel.

What is wrong with one model is in ``test_wrong_models.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torch_pin import PIN
from wheels import Build, assert_refused, edited, pip_wheel

ProjectFactory = Callable[[str], Path]

SOURCE = 'source = "failing.modules:Net"'

DECLARATIONS = {
    "unknown key": (
        ("dims.batch", "dim.batch"),
        ('unknown key "dim"', 'did you mean "dims"?', "models.net.dim"),
    ),
    "torch of another version": (
        (PIN, "torch==2.12.1"),
        ('the project pins "torch==2.12.1"', "build-system.requires"),
    ),
    "dynamic without a provider": (
        ('[[tool.dynamic-metadata]]\nprovider = "aotbuild"\n', ""),
        ("the wheel would not require torch", '[[tool.dynamic-metadata]] provider = "aotbuild"'),
    ),
    "no torch requirement": (
        (
            'dynamic = ["dependencies"]\n\n[[tool.dynamic-metadata]]\nprovider = "aotbuild"\n',
            "",
        ),
        ("the wheel would not require torch", 'dynamic = ["dependencies"]'),
    ),
    "weights that are missing": (
        ('weights = "random"', 'weights = "net.safetensors"'),
        ('the weights file "net.safetensors" does not exist', "models.net.weights"),
    ),
}


@pytest.mark.parametrize("case", DECLARATIONS)
def test_a_wrong_declaration_stops_the_build(project: ProjectFactory, case: str) -> None:
    change, said = DECLARATIONS[case]
    assert_refused(pip_wheel(edited(project("failing"), change)), *said)


def test_a_missing_compiler_stops_the_build(project: ProjectFactory) -> None:
    build = pip_wheel(project("failing"), env={"CXX": "no-such-compiler"})
    assert_refused(build, 'there is no C++ compiler "no-such-compiler"', "apt-get install g++")


def test_torch_missing_in_the_build_environment_stops_the_build(
    project: ProjectFactory, tmp_path: Path
) -> None:
    # An environment with everything but torch: links to what the test environment holds.
    site = tmp_path / "site"
    site.mkdir()
    for path in Path(sys.prefix).glob("lib/python*/site-packages/*"):
        if not path.name.startswith("torch"):
            (site / path.name).symlink_to(path)
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (next(env.glob("lib/python*/site-packages")) / "outer.pth").write_text(f"{site}\n")
    out = tmp_path / "out"
    done = subprocess.run(
        [
            str(env / "bin" / "python"),
            "-P",
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
        ]
        + ["-w", str(out), str(project("failing"))],
        capture_output=True,
        text=True,
        check=False,
    )
    build = Build(done.returncode, done.stdout + done.stderr, list(out.glob("*.whl")))
    assert_refused(build, "torch is not installed in the build environment", f'install "{PIN}"')


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_stops_the_build_and_leaves_nothing_half_written(
    project: ProjectFactory, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        build = pip_wheel(project("failing"), f"-Cbuild-dir={disk / 'build'}")
        assert_refused(build, "the disk is full")
        left = [p for p in (disk / "build").rglob("*") if ".part" in p.name or ".scratch" in p.name]
        assert left == []
    finally:
        # The fork server of a failed build stays for a second.
        umount = ["umount", str(disk)]
        while subprocess.run(umount, check=False, capture_output=True, timeout=60).returncode:
            time.sleep(0.2)


def test_a_failed_build_can_be_mended_and_goes_on(project: ProjectFactory, tmp_path: Path) -> None:
    source = edited(project("failing"), (SOURCE, 'source = "failing.modules:Random"'))
    options = f"-Cbuild-dir={tmp_path / 'cmake'}"
    assert_refused(pip_wheel(source, options), "differs from the eager model")
    edited(source, ("Random", "Net"))
    build = pip_wheel(source, options)
    assert build.returncode == 0, build.output
