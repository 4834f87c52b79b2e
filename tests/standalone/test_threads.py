"""Threads of stand-alone libraries, by ThreadSanitizer: regions of many callers at once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from library import HEADERS, SOURCES

from aotbuild.toolchain import find_cxx

SECONDS = os.environ.get("AOTBUILD_ENDURANCE", "4")

_FLAGS = ["-std=c++20", "-O1", "-g", "-fsanitize=thread"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("threads")
    cxx = find_cxx()
    probe = directory / "probe.cpp"
    probe.write_text("int main() {}\n")
    made = [*cxx, *_FLAGS, str(probe), "-o", str(directory / "probe")]
    if subprocess.run(made, capture_output=True, check=False).returncode:
        pytest.skip("this compiler has no ThreadSanitizer")
    sources = [SOURCES / "threads.cpp", SOURCES / "memory.cpp"]
    objects = []
    for source in [*sources, Path(__file__).with_name("threads_driver.cpp")]:
        objects.append(directory / f"{source.stem}.o")
        includes = [f"-I{SOURCES}", f"-I{HEADERS}"]
        command = [*cxx, *_FLAGS, "-fopenmp", *includes, "-c", str(source)]
        subprocess.run([*command, "-o", str(objects[-1])], check=True)
    # Without -fopenmp: the functions of threads.cpp take the place of libgomp's.
    program = directory / "driver"
    linked = [*map(str, objects), "-lpthread", "-o", str(program)]
    subprocess.run([*cxx, *_FLAGS, *linked], check=True)
    return program


def test_regions_of_many_callers_do_not_race(driver: Path) -> None:
    done = subprocess.run(
        # With addresses at random ThreadSanitizer may find its own taken.
        ["setarch", "-R", driver, SECONDS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert int(done.stdout) > 0
