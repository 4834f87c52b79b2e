"""What threads do to the engine without the GIL, by ThreadSanitizer.

It needs a Python that was configured with ``--disable-gil --with-thread-sanitizer``, which
``AOTBUILD_TSAN_PYTHON`` names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from interpreters import replace_engine
from sanitize import compile_engine
from wheels import STANDALONE, Installed, run_plain

VARIABLE = "AOTBUILD_TSAN_PYTHON"
SECONDS = os.environ.get("AOTBUILD_ENDURANCE", "4")

MANY_THREADS = Path(__file__).with_name("many_threads.py")

_WHERE = """
import json, sysconfig
names = "EXT_SUFFIX", "CONFIG_ARGS"
print(json.dumps([sysconfig.get_path("include"), *map(sysconfig.get_config_var, names)]))
"""


@pytest.fixture
def package(installed: Callable[..., Installed], tmp_path: Path) -> Path:
    """The stand-alone example, with an engine that ThreadSanitizer watches."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"{VARIABLE} names no Python that ThreadSanitizer watches")
    include, suffix, options = run_plain(Path(python), tmp_path, _WHERE)
    assert "--with-thread-sanitizer" in options
    engine = tmp_path / f"_engine{suffix}"
    compile_engine(engine, include, ["-fsanitize=thread", "-g", "-O1"])
    shutil.copytree(installed("example_project", STANDALONE).directory, tmp_path / "installed")
    replace_engine(tmp_path / "installed" / "digits" / "models", engine)
    return tmp_path / "installed"


@pytest.mark.parametrize("lazy", ["0", "1"])
def test_threads_race_for_nothing_of_the_engine(package: Path, lazy: str) -> None:
    log = package.parent / "tsan"
    done = subprocess.run(
        # With addresses at random ThreadSanitizer may find its own taken.
        ["setarch", "-R", os.environ[VARIABLE], "-P", "-s", MANY_THREADS, SECONDS],
        env={
            "PYTHONPATH": os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]),
            "PATH": "/usr/bin:/bin",
            "AOTBUILD_LAZY": lazy,
            # The models are not watched, and how their threads wait for each other is not seen:
            # tests/standalone/test_threads.py has these.
            "TSAN_OPTIONS": f"log_path={log} exitcode=0 history_size=4 "
            "ignore_noninstrumented_modules=1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _, wrong, counts, off = json.loads(done.stdout)
    assert (wrong, off) == ([], True)
    assert min(counts.values()) > 0
    reports = [
        report
        for path in package.parent.glob("tsan.*")
        for report in path.read_text(errors="replace").split("==================")
        # Others are races of the interpreter with itself.
        if "_engine." in report or "/engine/" in report
    ]
    assert not reports, reports[0]
