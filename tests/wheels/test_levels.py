"""CPU levels: each gives the eager result with its own instructions, and the best one runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from wheels import Installed, edited, keep_models, pip_wheel

from aotbuild.runtime.engines import cpu_features
from aotbuild.target import TARGETS

LEVELS = ("x86-64-v2", "x86-64-v3", "x86-64-v4")
LACKS_V4 = not all(cpu_features().get(name) for name in TARGETS["cpu-x86-64-v4"].requires)

pytestmark = pytest.mark.skipif(
    torch.cpu.get_capabilities().get("architecture") != "x86_64", reason="levels of x86-64"
)

CODE = """
import json, os, sys
os.environ["AOTBUILD_CPU_LEVEL"] = {level!r}
import torch
from levels.models import curve
told = [[curve.target, curve(torch.linspace(-3, 3, n)).tolist()] for n in (1, 7, 64, 1000)]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def levels(installed: Callable[[str], Installed]) -> Installed:
    return installed("levels")


def eager(n: int) -> list[float]:
    x = torch.linspace(-3, 3, n)
    for scale in torch.linspace(0.5, 1.5, 16)[:4]:
        x = torch.sigmoid(x) * scale + x * torch.exp(-(x * x)) + x.abs().sqrt()
    found: list[float] = x.tolist()
    return found


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_gives_the_eager_result(levels: Installed, level: str) -> None:
    code = CODE.format(level=level)
    if level == "x86-64-v4" and LACKS_V4:
        done = levels.attempt(code)
        assert done.returncode == 1
        assert f"AOTBUILD_CPU_LEVEL={level}: curve cannot run as compiled for it" in done.stderr
        assert "this CPU lacks avx512_" in done.stderr
        return
    for target, result in levels.run(code):
        assert target == f"cpu-{level}"
        assert result == pytest.approx(eager(len(result)), rel=1e-5, abs=1e-5)


def test_the_best_level_runs(levels: Installed) -> None:
    best = LEVELS[1 if LACKS_V4 else 2]
    assert {target for target, _ in levels.run(CODE.format(level=""))} == {f"cpu-{best}"}


def test_each_level_has_its_own_instructions(levels: Installed) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("needs binutils")
    found = {}
    for level in LEVELS:
        library = levels.directory / f"levels/models/curve/cpu-{level}.so"
        told = subprocess.run(
            ["objdump", "-d", library], capture_output=True, text=True, check=True
        )
        found[level] = {name for name in ("xmm", "ymm", "zmm") if f"%{name}" in told.stdout}
    assert found == {
        "x86-64-v2": {"xmm"},
        "x86-64-v3": {"xmm", "ymm"},
        "x86-64-v4": {"xmm", "ymm", "zmm"},
    }


def test_the_manifest_and_the_log_tell_what_was_not_verified(levels: Installed) -> None:
    variants = levels.manifest("curve")["variants"]
    assert [variant["target"] for variant in variants] == [f"cpu-{each}" for each in LEVELS[::-1]]
    unverified = [v["target"] for v in variants if "unverified" in v["verified"]]
    warned = re.findall(r"warning: curve is not verified for (\S+)", levels.output)
    assert unverified == warned == (["cpu-x86-64-v4"] if LACKS_V4 else [])
    assert all(v["verified"]["largest-error"] < 1e-4 for v in variants if v["target"] not in warned)


def test_a_level_that_is_hardly_faster_is_left_out(levels: Installed) -> None:
    kept = [variant["target"] for variant in levels.manifest("matrix")["variants"]]
    told = re.findall(r"matrix: cpu-x86-64-v4 is (\S+) x as fast as cpu-x86-64-v3", levels.output)
    assert len(told) == (0 if LACKS_V4 else 1)
    worth = any(float(gain) >= 1.05 for gain in told)
    assert kept == ["cpu-x86-64-v4"] * worth + ["cpu-x86-64-v3"]


def test_a_library_is_the_same_whatever_this_machine_can_do(
    levels: Installed, project: Callable[[str], Path], tmp_path: Path
) -> None:
    listed = 'cpu-levels = ["x86-64-v2", "x86-64-v3", "x86-64-v4", "armv8"]'
    one = edited(keep_models(project("levels"), "curve"), (listed, 'cpu-levels = ["x86-64-v4"]'))
    hidden = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    build = pip_wheel(one, env=hidden)
    assert build.returncode == 0, build.output
    name = "levels/models/curve/cpu-x86-64-v4.so"
    found = Installed(build.wheels[0], tmp_path, "", levels.python).files[name]
    assert found == levels.files[name]


needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None, reason="needs Debian's qemu-user"
)


def emulated(cpu: str, installed: Installed, code: str) -> str:
    """Run code on another CPU with a wheel, torch and numpy; the last line it prints."""
    site = next(installed.python.parents[1].glob("lib/python*/site-packages"))
    places = (installed.directory, site, Path(np.__file__).parents[1])
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", cpu, str(installed.python.resolve()), "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": ":".join(map(str, places)),
            "OMP_NUM_THREADS": "1",
            # numpy's OpenBLAS takes what qemu calls Nehalem for a Haswell, and dies of its own code
            "OPENBLAS_CORETYPE": cpu,
        },
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.splitlines()[-1]


# An import of torch takes a quarter of a minute there.
EMULATED = """
import json, sys
import numpy as np
from levels.models import curve
told = [curve.target, curve(np.linspace(-3, 3, 64, dtype=np.float32)).tolist()]
try:
    from levels.models import matrix
    told.append(matrix.target)
except ImportError as error:
    told.append(str(error))
print(json.dumps(["torch" in sys.modules, *told]))
"""


@needs_qemu
@pytest.mark.parametrize(("cpu", "level"), [("Haswell", "x86-64-v3"), ("Nehalem", "x86-64-v2")])
def test_another_cpu_runs_its_own_level(levels: Installed, cpu: str, level: str) -> None:
    told: Any = json.loads(emulated(cpu, levels, EMULATED))
    assert told[:2] == [False, f"cpu-{level}"]
    assert told[2] == pytest.approx(eager(64), rel=1e-5, abs=1e-5)
    if level == "x86-64-v2":  # the other model is for v3 and above, and no signal ends the process
        assert "cpu-x86-64-v3: this CPU lacks avx, avx2" in told[3]
    else:
        assert told[3] == "cpu-x86-64-v3"
