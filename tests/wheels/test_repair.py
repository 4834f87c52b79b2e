"""``python -m aotbuild repair``: the platform tag, torch's libraries left out, the self-test."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import STANDALONE, Build, Installed, differ_from_record, install

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux")


def repair(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "repair", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def example(installed: Callable[[str], Installed]) -> Installed:
    return installed("example_project")


def test_a_wheel_gets_a_manylinux_tag_and_nothing_of_torch(
    example: Installed, tmp_path: Path
) -> None:
    done = repair(example.wheel, "-w", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").iterdir()
    tag = re.search(r"-cp311-abi3-(manylinux_2_\d+_x86_64|manylinux_2_\d+_aarch64)", wheel.name)
    assert tag
    first, *against = done.stdout.splitlines()
    assert first == f"{wheel}: {tag[1]}, self-test passed"
    # That of C++, which comes with torch here; the C library is an older one than the builder's.
    assert any(
        re.match(r"  an older tag would not have GLIBCXX_[\d.]+: _Z", each) for each in against
    )
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if not name.endswith("/")} == set(example.files)
    assert "digits-0.1.0.dist-info/sboms/aotbuild.cdx.json" in names
    assert differ_from_record(wheel) == set()
    repaired = install(Build(0, "", [wheel]), tmp_path / "installed", example.python)
    loaded = repaired.run(
        "import json, re, torch\nfrom digits.models import net\n"
        "net(torch.rand(64, 1, 8, 8))\n"
        "maps = open('/proc/self/maps').read()\n"
        r"print(json.dumps(sorted(set(re.findall(r'/lib(?:gomp|omp|iomp5)[^/\s]*', maps)))))"
    )
    assert len(loaded) == 1


def test_a_wheel_without_torch_is_for_older_systems(
    installed: Callable[..., Installed], tmp_path: Path
) -> None:
    found = installed("example_project", STANDALONE)
    done = repair(found.wheel, "-w", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "out").iterdir()
    tags = wheel.stem.split("-")[-1]
    assert max(map(int, re.findall(r"manylinux_2_(\d+)_", tags))) <= 28
    first, *against = done.stdout.splitlines()
    assert first == f"{wheel}: {tags}, self-test passed"
    assert len(against) <= 1
    assert all("an older tag would not have GLIBC_2.18: __cxa_" in each for each in against)


@pytest.mark.parametrize("name", ["digits-0.1.0.tar.gz", "digits-0.1.0-py3-none-any.whl"])
def test_what_is_no_wheel_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a zip file")
    done = repair(tmp_path / name, cwd=tmp_path)
    assert done.returncode == 1
    assert "aotbuild: error: this is no wheel" in done.stderr
    assert "name what pip wheel built, such as dist/*.whl" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wheel_whose_self_test_fails_is_not_passed_on(example: Installed, tmp_path: Path) -> None:
    broken = tmp_path / example.wheel.name
    with zipfile.ZipFile(example.wheel) as given, zipfile.ZipFile(broken, "w") as written:
        for name in given.namelist():
            data = given.read(name)
            if name.endswith("weights.safetensors"):
                data = data[:-8] + bytes(8)
            if not name.endswith("RECORD"):
                written.writestr(name, data)
            else:
                written.writestr(name, "")
    done = repair(broken, "-w", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "aotbuild: error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_wheel_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = repair("dist/net.whl", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "aotbuild: error: there is no such wheel\n  where: dist/net.whl\n  fix:   build it first\n"
    )
