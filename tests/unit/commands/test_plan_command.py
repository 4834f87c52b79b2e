"""``aotbuild plan``: the steps of a build, and why they run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from torch_pin import copied

from aotbuild.__main__ import main
from aotbuild.commands.plan import PlanReport
from aotbuild.progress.durations import Durations
from aotbuild.target import usual_targets

PACKAGES = Path(__file__).parents[2] / "packages"
TARGET = usual_targets()[0].name


def plan(
    project: Path, *arguments: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "plan", *arguments, "--project", str(project)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
        cwd=project.parent,
    )


@pytest.fixture
def cache(tmp_path: Path) -> dict[str, str]:
    return {"AOTBUILD_CACHE": "readwrite", "AOTBUILD_CACHE_DIR": str(tmp_path / "cache")}


def test_the_steps_are_told_with_what_they_took_and_why_they_run(
    tmp_path: Path, cache: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copied(PACKAGES / "tuned", tmp_path / "tuned")
    for name, value in cache.items():
        monkeypatch.setenv(name, value)
    Durations("tuned.models").note(f"Verifying net for {TARGET}", 65)
    done = plan(project, env=cache)
    assert done.returncode == 0, done.stderr
    rows = [" ".join(line.split()) for line in done.stdout.splitlines()]
    head, *rows = [row for row in rows if not row.startswith("aotbuild: ")]
    assert head == "step last took why"
    assert rows == [
        "Finding out what runs net in the cache",
        "Building the engine runs the cache has none of this aotbuild, compiler and Python",
        "Exporting net runs a build traces each model",
        f"Tuning net for {TARGET} runs nothing is pinned for it",
        f"Compiling net for {TARGET} runs its recipe is not known yet",
        (
            f"Verifying net for {TARGET} runs 1 min 05 s a build compares each compiled model with "
            "the eager one"
        ),
        "Bundling tuned.models runs it writes the package",
    ]
    # It only remembers what runs the model.
    assert [path.name for path in (tmp_path / "cache").glob("[a-z]*")] == ["history"]


def test_programs_get_json(tmp_path: Path) -> None:
    project = copied(PACKAGES / "calls", tmp_path / "calls")
    pyproject = project / "pyproject.toml"
    kept = '[tool.scikit-build]\nbuild-dir = "build/{wheel_tag}"\n\n'
    pyproject.write_text(kept + pyproject.read_text())
    done = plan(project, "normed", "--json", env={"AOTBUILD_CACHE": "off"})
    assert done.returncode == 0, done.stderr
    report = TypeAdapter(PlanReport).validate_json(done.stdout, strict=True, extra="forbid")
    assert [(each.step, each.model, each.target, each.cached) for each in report.steps] == [
        ("choose", "normed", "", False),
        ("engine", "", "", False),
        ("export", "normed", "", False),
        ("compile", "normed", TARGET, False),
        ("verify", "normed", TARGET, False),
        ("bundle", "", "", False),
    ]
    assert [report.steps[i].why for i in (0, 1, 3)] == ["the cache is off"] * 3
    assert all(each.why and each.seconds is None for each in report.steps)
    assert report.steps[3].does == f"Compiling normed for {TARGET}"
    (note,) = report.notes
    assert note.startswith("build-dir = build/{wheel_tag} keeps what steps made")


def test_a_model_that_cannot_be_traced_ends_the_command_with_1(tmp_path: Path) -> None:
    project = copied(PACKAGES / "failing", tmp_path / "failing")
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("modules:Net", "modules:Static"))
    done = plan(project, "--json", env={"AOTBUILD_CACHE": "off"})
    assert done.returncode == 1
    assert done.stderr.count("aotbuild: error: ") == 1
    assert 'write 4 in place of "batch"' in done.stderr
    report = TypeAdapter(PlanReport).validate_json(done.stdout, strict=True, extra="forbid")
    assert report.steps == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nett"], 'the model "nett" is not declared'),
        (["--project", "/nonexistent"], "the project declares no models"),
    ],
)
def test_what_is_not_there_is_told(tmp_path: Path, arguments: list[str], told: str) -> None:
    project = copied(PACKAGES / "tuned", tmp_path / "tuned")
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--project", str(project), *arguments])
    assert told in str(ended.value.code)


def test_wrong_arguments_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--explain"]) == 2
    assert "No such option '--explain'" in capsys.readouterr().err
