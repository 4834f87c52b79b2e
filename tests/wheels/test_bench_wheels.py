"""``aotbuild bench`` on real wheels: models of many kinds are called as their callers do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wheels import PACKAGES, REPOSITORY, STANDALONE, TORCH, Installed


def bench(*arguments: str | Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-P", "-m", "aotbuild", "bench", "--json", "--seconds", "0"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    cases: list[dict[str, Any]] = json.loads(done.stdout)["cases"]
    return cases


@pytest.mark.parametrize("runtime", [STANDALONE, TORCH])
def test_the_example_is_measured(installed: Callable[..., Installed], runtime: str) -> None:
    found = installed("example_project", runtime)
    cases = bench(found.wheel)
    assert {case["model"] for case in cases} == {"net", "denoiser", "reader"}
    assert [case["sizes"] for case in cases if case["model"] == "net"] == [
        {"batch": 1},
        {"batch": 16},
    ]
    for case in cases:
        assert case["samples"] == 10
        assert 0 < case["low"] <= case["median"] <= case["high"]
        assert case["first"] > 0
        assert case["imports"] > 0
    (one,) = bench(found.directory / "digits" / "models", "net", "--size", "batch=5")
    assert one["sizes"] == {"batch": 5}


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("calls", ["lookup", "nested", "constants", "scalars", "kinds"]),
        ("nested", ["decoder", "recommender"]),
    ],
)
def test_arguments_of_all_kinds_are_measured(
    installed: Callable[..., Installed], name: str, models: list[str]
) -> None:
    cases = bench(installed(name).wheel, *models)
    assert {case["model"] for case in cases} == {*models}


@pytest.mark.parametrize(
    ("name", "runtime", "models"),
    [
        ("example_project", STANDALONE, ["net", "denoiser", "reader"]),
        ("calls", TORCH, ["lookup", "nested", "constants", "scalars", "kinds"]),
        ("nested", TORCH, ["decoder", "recommender"]),
    ],
)
def test_eager_torch_is_measured_beside(
    installed: Callable[..., Installed], name: str, runtime: str, models: list[str]
) -> None:
    project = REPOSITORY / name if name == "example_project" else PACKAGES / name
    cases = bench(
        installed(name, runtime).wheel, *models, "--beside", "eager", "--project", project
    )
    eager = {case["model"]: case for case in cases if case["target"] == "eager"}
    assert {*eager} == {*models} - {"reader"}  # which keeps a state
    for case in eager.values():
        assert case["error"] < 1e-5
        assert 0 < case["low"] <= case["median"] <= case["high"]


def test_what_a_model_refuses_is_told(installed: Callable[..., Installed]) -> None:
    wheel = installed("example_project", STANDALONE).wheel
    command = [sys.executable, "-P", "-m", "aotbuild", "bench", str(wheel), "net"]
    done = subprocess.run(
        [*command, "--size", "batch=300"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "net cannot be measured as compiled for x86-64-v3" in done.stderr
    assert "batch is 300, the compiled model takes 1 to 256" in done.stderr
    assert "Traceback" not in done.stderr
