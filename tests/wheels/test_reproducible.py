"""Wheels of the same sources are the same, bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import Installed, own_cache, pip_wheel


@pytest.mark.parametrize("name", ["example_project", "stranger"])
def test_a_wheel_is_the_same_from_another_directory_and_environment(
    installed: Callable[[str], Installed],
    project: Callable[[str], Path],
    tmp_path: Path,
    name: str,
) -> None:
    for directory in ("home", "some other place"):
        (tmp_path / directory).mkdir()
    other = {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "some other place"),
        "USER": "somebody",
        "OMP_NUM_THREADS": "1",
        "CMAKE_BUILD_PARALLEL_LEVEL": "1",
        "TZ": "Pacific/Auckland",
        "LC_ALL": "C",
        **own_cache(tmp_path / "cache"),
    }
    options = []
    if name == "stranger":  # each step on its own with nothing shared, and a path with a blank
        other |= {"AOTBUILD_FORKSERVER": "0", "AOTBUILD_CACHE": "off"}
        options.append(f"-Cbuild-dir={tmp_path / 'my build'}")
    first = installed(name)
    second = pip_wheel(project(name), *options, env=other)
    assert second.returncode == 0, second.output
    again = Installed(second.wheels[0], tmp_path, "", first.python)
    differ = {file for file, data in first.files.items() if again.files.get(file) != data}
    assert differ == set()
    digests = {hashlib.sha256(w.read_bytes()).digest() for w in (first.wheel, again.wheel)}
    assert len(digests) == 1
