"""Tuning: what was measured once is pinned, and later builds are the same and measure nothing."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import Build, Installed, copy_package, edited, install, pip_wheel

from aotbuild.runtime.engines import cpu_features
from aotbuild.steps.artifacts.facts import settings_fingerprint
from aotbuild.steps.tune.lock import Choice, Lock, Measured, read_lock, write_lock
from aotbuild.target import TARGETS, usual_targets

USUAL, HIGHER = usual_targets()[0].name, "cpu-x86-64-v4"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Build]:
    """The project after a first build, which measured it."""
    project = copy_package(tmp_path_factory.mktemp("tuned"), "tuned")
    build = pip_wheel(project)
    assert build.returncode == 0, build.output
    return project, build


def choice_of(project: Path, target: str = USUAL) -> Choice:
    found = read_lock(project).choice("net", "forward", target)
    assert found is not None
    return found


def with_lock(project: Callable[[str], Path], lock: Lock, *changes: tuple[str, str]) -> Path:
    copy = edited(project("tuned"), *changes)
    write_lock(copy, lock)
    return copy


def test_the_first_build_measures_and_writes_the_lock_file(tuned: tuple[Path, Build]) -> None:
    project, build = tuned
    assert f"Tuning net for {USUAL}" in build.steps
    assert "wrote aotbuild.lock.toml in the project" in build.output
    choice = choice_of(project)
    assert set(choice.candidates) == {"passes", "plain"}
    winner = choice.candidates[choice.recipe]
    assert winner.ratio == 1.0
    assert winner.microseconds
    assert winner.error is not None
    assert winner.error < 1e-4
    assert choice.sizes == {"n": 8}
    assert choice.torch == importlib.metadata.version("torch")
    assert f"net: {USUAL} by the recipe {choice.recipe}, " in build.output


def test_builds_with_one_lock_file_are_the_same_and_measure_nothing(
    tuned: tuple[Path, Build], project: Callable[[str], Path]
) -> None:
    first, build = tuned
    again = pip_wheel(with_lock(project, read_lock(first)))
    assert again.returncode == 0, again.output
    recipe = choice_of(first).recipe
    assert f"net: {USUAL} by the recipe {recipe}, pinned in aotbuild.lock.toml" in again.output
    assert "wrote aotbuild.lock.toml" not in again.output
    assert not re.search(r"by the recipe \S+, [\d.e+]+ us", again.output)
    wheels = [build.wheels[0], again.wheels[0]]
    assert len({hashlib.sha256(wheel.read_bytes()).digest() for wheel in wheels}) == 1


def test_a_model_that_changed_is_told_and_built_without_the_lock_file(
    tuned: tuple[Path, Build], project: Callable[[str], Path]
) -> None:
    lock = read_lock(tuned[0])
    changed = with_lock(project, lock, ("tune = true\n", ""), ("width = 64", "width = 48"))
    build = pip_wheel(changed)
    assert build.returncode == 0, build.output
    said = " ".join(build.output.split())
    assert f"warning: net for {USUAL} ignores its pinned recipe" in said
    assert "why: the model is not the one that was measured" in said
    assert read_lock(changed) == lock


def test_the_command_prints_what_it_would_write(tuned: tuple[Path, Build], tmp_path: Path) -> None:
    project, _ = tuned
    lock = (project / "aotbuild.lock.toml").read_bytes()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "tune", "--dry-run", "--project", str(project)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"[choices.net.forward.{USUAL}.candidates]" in done.stdout
    told = f"aotbuild: Tuning net for {USUAL}"
    order = [told, f"{told}: recipe 1 of 2", f"{told}: recipe 2 of 2", "aotbuild: net: "]
    lines = done.stdout.splitlines()
    places = [next(i for i, line in enumerate(lines) if line.startswith(text)) for text in order]
    assert places == sorted(places)
    assert [line for line in lines if re.fullmatch(rf"{told}: (\d+ min )?\d+(\.\d)? s", line)]
    assert (project / "aotbuild.lock.toml").read_bytes() == lock


def test_the_command_tells_an_unknown_model(tuned: tuple[Path, Build]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "tune", "nett", "--project", str(tuned[0])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert 'aotbuild: error: the model "nett" is not declared' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pinned_recipe_of_less_accuracy_is_verified_within_its_limits(
    tuned: tuple[Path, Build],
    project: Callable[[str], Path],
    tmp_path: Path,
    clean_python: Path,
) -> None:
    if not all(cpu_features().get(name) for name in TARGETS[HIGHER].requires):
        pytest.skip("needs AVX-512")
    settings = settings_fingerprint({"options": {}, "quantize": None, "swappable": False})
    measured = Measured(microseconds=1.0, ratio=1.0, interval=[1.0, 1.0], error=2e-3)
    choice = Choice(
        recipe="bfloat16",
        program=choice_of(tuned[0]).program,
        settings=settings,
        candidates={"bfloat16": measured},
    )
    lock = Lock(choices={"net": {"forward": {HIGHER: choice}}})
    copy = with_lock(
        project,
        lock,
        ("inductor.freezing = false\n", ""),
        ("tune = true", "tune = { max-error = 1e-2 }"),
        ('cpu-levels = ["x86-64-v3", "armv8"]', 'cpu-levels = ["x86-64-v4"]'),
    )
    found: Installed = install(pip_wheel(copy), tmp_path / "installed", clean_python)
    (variant,) = found.manifest("net")["variants"]
    assert variant["compiled"]["recipe"] == "bfloat16"
    assert 1e-5 < variant["verified"]["relative-error"] <= 1e-2
    dtype = found.run(
        "import json, torch\nfrom tuned.models import net\n"
        "print(json.dumps(str(net(torch.zeros(3, 64)).dtype)))"
    )
    assert dtype == "torch.float32"
    assert (
        found.run(
            "import json, subprocess, sys\nprint(json.dumps(subprocess.run("
            "[sys.executable, '-m', 'tuned.models']).returncode))",
            {},
        )
        == 0
    )
