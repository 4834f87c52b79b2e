"""``runtime = "auto"``: what runs each model is found out before the wheel is built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch_pin import REQUIRED
from wheels import Build, Installed, assert_refused, edited, install, pip_wheel, project_head

MODELS = """\
[tool.aotbuild]
cpu-levels = ["x86-64-v3", "armv8"]

[tool.aotbuild.models.waves]
source = "parts:Waves"
inputs.x = { shape = ["batch", 8] }
dims.batch = { max = 16 }

[tool.aotbuild.models.factors]
source = "parts:Factors"
inputs.x = { shape = ["batch", 3, 3] }
dims.batch = { max = 16 }
"""

SOURCE = """\
import torch


class Waves(torch.nn.Module):
    def forward(self, x):
        return x.sin().cumsum(1)


class Factors(torch.nn.Module):
    def forward(self, x):
        symmetric = x @ x.mT + 3 * torch.eye(3)
        return torch.linalg.cholesky(symmetric)
"""

REASON = (
    "factors needs torch at run time: only torch has aten.linalg_cholesky, called at "
    "parts.py:12 in forward: return torch.linalg.cholesky(symmetric)"
)

BOUND = (
    "factors needs the build's minor version of torch: operators without a function in C are "
    "called by way of torch's own runner"
)


def write_project(directory: Path) -> Path:
    directory.mkdir()
    (directory / "pyproject.toml").write_text(project_head("mixed") + MODELS)
    (directory / "parts.py").write_text(SOURCE)
    return directory


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("choice") / "mixed")


@pytest.fixture(scope="module")
def build(source: Path) -> Build:
    return pip_wheel(source)


@pytest.fixture(scope="module")
def mixed(source: Path, build: Build, clean_python: Path) -> Installed:
    return install(build, source.parent / "installed", clean_python)


def test_torch_is_required_where_one_model_needs_it_and_the_log_tells_why(
    mixed: Installed,
) -> None:
    assert mixed.required == [REQUIRED]
    assert f"aotbuild: {REASON}" in " ".join(mixed.output.split())
    # Only functions in C are promised to stay.
    assert f"aotbuild: {BOUND}" in " ".join(mixed.output.split())
    standalone = {
        name: mixed.manifest(name)["variants"][0]["standalone"] for name in ("waves", "factors")
    }
    assert standalone == {"waves": True, "factors": False}


def test_both_kinds_run_in_one_process(mixed: Installed) -> None:
    code = """
import json, torch
from mixed.models import factors, waves
x = torch.rand(5, 3, 3)
wanted = torch.linalg.cholesky(x @ x.mT + 3 * torch.eye(3))
y = torch.rand(4, 8)
print(json.dumps([
    bool(torch.allclose(factors(x), wanted)), bool(torch.allclose(waves(y), y.sin().cumsum(1)))
]))
"""
    assert mixed.run(code) == [True, True]


def check(project: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "check", "--project", str(project)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )


def test_the_answer_is_remembered_until_a_file_changes(
    build: Build, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aotbuild.config.project import load_declared
    from aotbuild.config.runtimes import Choice
    from aotbuild.steps.choose.memory import remembered

    assert build.returncode == 0

    def known() -> list[Choice | None]:
        project = load_declared(source)
        return [remembered(project, name) for name in ("waves", "factors")]

    first = known()
    assert [choice and choice.runtime for choice in first] == ["standalone", "torch"]
    text = (source / "parts.py").read_text()
    (source / "parts.py").write_text(text.replace("cumsum(1)", "cumsum(0)"))
    assert known() == [None, None]
    (source / "parts.py").write_text(text)
    assert known() == first
    # Once setuptools is imported, as torch may do, the path has a folder in it.
    metadata = tmp_path / "tools" / "_vendor" / "tool-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
    (tmp_path / "tools" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "tools" / "_vendor")
    assert known() == first
    edited(
        source,
        (
            "max = 16 }\n\n[tool.aotbuild.models.factors]",
            "max = 17 }\n\n[tool.aotbuild.models.factors]",
        ),
    )
    assert [choice is None for choice in known()] == [True, False]
    edited(source, ("max = 17", "max = 16"))


def test_check_tells_it(build: Build, source: Path) -> None:
    assert build.returncode == 0
    done = check(source)
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    assert rows[:3] == [["model", "runtime"], ["waves", "standalone"], ["factors", "torch"]]
    assert REASON in done.stdout
    assert BOUND in done.stdout


def test_check_refuses_what_has_to_be_stand_alone_and_is_not(tmp_path: Path) -> None:
    project = write_project(tmp_path / "mixed")
    edited(project, ("[tool.aotbuild]\n", '[tool.aotbuild]\nruntime = "standalone"\n'))
    done = check(project)
    assert done.returncode == 1
    assert "aotbuild: error: the model needs torch at run time" in done.stderr
    assert "only torch has aten.linalg_cholesky, called at parts.py:12" in done.stderr
    assert "waves" in done.stdout
    assert "factors" not in done.stdout


def test_a_wheel_that_would_not_require_torch_is_refused_once_it_is_needed(
    tmp_path: Path,
) -> None:
    project = write_project(tmp_path / "mixed")
    provider = '\n[[tool.dynamic-metadata]]\nprovider = "aotbuild"\n'
    edited(project, (provider, ""), ('dynamic = ["dependencies"]\n', ""))
    assert_refused(pip_wheel(project), "the wheel would not require torch")
    done = check(project)
    assert done.returncode == 1
    assert "the wheel would not require torch" in done.stderr


def test_a_model_that_is_declared_for_torch_is_not_lowered(tmp_path: Path) -> None:
    from aotbuild.config.project import load_declared
    from aotbuild.config.runtimes import Choice
    from aotbuild.steps.choose.chosen import choices_of

    project = write_project(tmp_path / "mixed")
    edited(project, ("[tool.aotbuild]\n", '[tool.aotbuild]\nfallback = "eager"\ntorch = "minor"\n'))
    (project / "parts.py").write_text("raise AssertionError\n")
    reason = 'it is declared with fallback = "eager"'
    choices: Any = choices_of(load_declared(project), ["waves", "factors"])
    assert choices == dict.fromkeys(["waves", "factors"], Choice("torch", reason))
