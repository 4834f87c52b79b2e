"""What is seen of a real build while it runs, and the wheel that ``aotbuild build`` makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import copy_package, keep_models, pip_wheel

from aotbuild.target import usual_targets

TARGET = usual_targets()[0].name
STEPS = [
    *("Building the engine", "Exporting net", f"Compiling net for {TARGET}"),
    *(f"Verifying net for {TARGET}", "Bundling digits.models"),
]
LINE = re.compile(r" *aotbuild: ((?:Build|Export|Compil|Verify|Bundl)ing [^:]*)(?:: (.*))?")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, bytes]:
    """A project, what pip printed of its build with ``-v``, and the wheel."""
    copy = copy_package(tmp_path_factory.mktemp("build"), "example_project")
    project = keep_models(copy, "net")
    build = pip_wheel(project)
    assert build.returncode == 0, build.output
    (wheel,) = build.wheels
    return project, build.output, wheel.read_bytes()


def said(log: str) -> list[tuple[str, str]]:
    """The lines of steps: what each does, and what is told of it; nothing where it begins."""
    found = map(LINE.fullmatch, log.splitlines())
    return [(match[1], match[2] or "") for match in found if match]


def assert_in_order(log: str) -> None:
    """Check that each step begins and ends, once, and behind those that it needs."""
    lines = said(log)
    begun = {label: i for i, (label, told) in enumerate(lines) if not told}
    ended = {label: i for i, (label, told) in enumerate(lines) if told and "so far" not in told}
    assert sorted(begun) == sorted(ended) == sorted(STEPS), log
    assert sum(not told for _, told in lines) == len(STEPS)
    engine, export, compiling, verify, bundle = STEPS
    for first, second in [(export, compiling), (compiling, verify), (verify, bundle)]:
        assert begun[first] < ended[first] < begun[second]
    assert begun[engine] < ended[engine] < begun[verify]
    told = {label: lines[i][1] for label, i in ended.items()}
    for label in (engine, export, compiling, bundle):
        assert re.search(r"\d+(\.\d)? s, [\d.]+ [kM]B$", told[label]), told
    assert re.fullmatch(r"(\d+ min )?[\d.]+ s", told[verify])


def test_pip_shows_each_step_before_ninja_does(built: tuple[Path, str, bytes]) -> None:
    _, log, _ = built
    assert_in_order(log)
    assert "aotbuild: 5 steps, " in log
    lines = [line.strip() for line in log.splitlines()]
    for label in STEPS:
        (shown,) = [i for i, line in enumerate(lines) if re.fullmatch(rf"\[\d/5\] {label}", line)]
        assert lines.index(f"aotbuild: {label}") < shown
    assert max(len(line) for line in log.splitlines() if LINE.fullmatch(line)) <= 80


def test_the_command_builds_the_same_wheel(built: tuple[Path, str, bytes], tmp_path: Path) -> None:
    project, _, wheel = built
    command = [sys.executable, "-P", "-m", "aotbuild", "build", "--no-isolation"]
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    done = subprocess.run(
        [*command, "--project", str(project), "-w", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert_in_order(done.stdout)
    assert dict(said(done.stdout))[f"Compiling net for {TARGET}"].startswith("from the cache in ")
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("aotbuild: net: cpu-")]
    (made,) = (tmp_path / "out").iterdir()
    assert lines[-1].startswith(f"{made}: ")
    assert made.read_bytes() == wheel
    assert [*scratch.iterdir()] == []  # and no server that would still write there


def test_an_error_of_a_step_is_told_once(project: Callable[[str], Path], tmp_path: Path) -> None:
    broken = keep_models(project("example_project"), "net")
    network = next(broken.rglob("network.py"))
    network.write_text(network.read_text() + "\nraise RuntimeError('no network today')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "build", "--no-isolation"]
        + ["--project", str(broken), "-w", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (done.stdout + done.stderr).count("aotbuild: error: ") == 1
    assert "no network today" in done.stderr
    assert "aotbuild: Exporting net: failed after " in done.stdout
    assert not (tmp_path / "out").exists()
