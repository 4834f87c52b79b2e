"""The files that GitHub reads, and the workflows that users copy."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from source_tree import REPOSITORY, page, section, table

from aotbuild.__main__ import aotbuild as commands

OWN = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
USERS = sorted((REPOSITORY / "docs" / "workflows").glob("*.yml"))
FORMS = sorted((REPOSITORY / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))
SCHEMAS = {
    "github-workflows": [*OWN, *USERS],
    "github-issue-forms": FORMS,
    "github-issue-config": [REPOSITORY / ".github" / "ISSUE_TEMPLATE" / "config.yml"],
    "dependabot": [REPOSITORY / ".github" / "dependabot.yml"],
}


def workflow(file: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def steps(file: Path) -> Iterator[dict[str, Any]]:
    for job in workflow(file)["jobs"].values():
        yield from job["steps"]


def lines(file: Path) -> list[str]:
    """The commands of a workflow."""
    runs = [step["run"] for step in steps(file) if "run" in step]
    return [line for run in runs for line in run.splitlines()]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_files_are_as_their_schemas_say(schema: str) -> None:
    assert len(SCHEMAS[schema]) > 0
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-P", "-m", "check_jsonschema", "--no-cache"]
    command += ["--builtin-schema", f"vendor.{schema}", *map(str, SCHEMAS[schema])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", [*OWN, *USERS], ids=lambda file: file.name)
def test_jobs_may_do_no_more_than_they_need(file: Path) -> None:
    found = workflow(file)
    assert found["permissions"] == {"contents": "read"}
    for name, job in found["jobs"].items():
        own = job.get("permissions", {})
        assert "timeout-minutes" in job, name
        if "write" in own.values():
            # What may write has no code of a pull request, and builds nothing.
            words = [step.get("run", "") for step in job["steps"]]
            assert not any(
                step.get("uses", "").startswith("actions/checkout") for step in job["steps"]
            )
            assert all(not word or word.startswith("uv publish") for word in words)
            assert own.keys() <= {"id-token", "pages"}, name
            assert job["environment"], name
            pushes = "tags" in found[True]["push"] and "pull_request" not in found[True]
            assert pushes or job["if"] == "github.event_name == 'push'", name
    assert "secrets." not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", [*OWN, *USERS], ids=lambda file: file.name)
def test_actions_are_pinned_by_their_major_version(file: Path) -> None:
    uses = [step["uses"] for step in steps(file) if "uses" in step]
    assert uses
    assert [
        one for one in uses if not re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", one)
    ] == []


def test_what_workflows_make_are_targets() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", page("Makefile"), re.MULTILINE))
    made = {
        word
        for file in OWN
        for line in lines(file)
        if line.startswith("make ")
        for word in shlex.split(line)[1:]
        if re.fullmatch("[a-z-]+", word)
    }
    assert {"test", "test-torch", "docs"} <= made
    assert made - targets == set()


def test_the_matrix_has_the_versions_that_are_supported() -> None:
    (job,) = (
        job
        for job in workflow(REPOSITORY / ".github/workflows/tests.yml")["jobs"].values()
        if "strategy" in job
    )
    matrix = job["strategy"]["matrix"]
    (pinned,) = re.findall(r"^PINNED := (\S+)$", page("Makefile"), re.MULTILINE)
    (others,) = re.findall(r"^VERSIONS := \$\(PINNED\) (.+)$", page("Makefile"), re.MULTILINE)
    assert matrix["torch"] == [pinned, *others.split()]
    text = page("docs/compatibility.md")
    assert f"Builds know torch {', '.join(minor(v) for v in matrix['torch'][:-1])} and " in text
    told = [row[0] for row in table(section(text, "Python"))]
    assert set(matrix["python"]) <= set(", ".join(told).split(", "))
    requires = tomllib.loads(page("pyproject.toml"))["project"]["requires-python"]
    assert requires == f">={matrix['python'][0]}"


def minor(version: str) -> str:
    return version.rpartition(".")[0]


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_issues_are_asked_for_what_doctor_tells(file: Path) -> None:
    fields = {one["id"]: one for one in workflow(file)["body"]}
    assert "`aotbuild doctor --json`" in fields["doctor"]["attributes"]["description"]
    assert fields["doctor"]["validations"]["required"] is True
    text = file.read_text(encoding="utf-8")
    for words in re.findall(r"`aotbuild ([^`]+)`", text):
        name, *options = words.split()
        known = {option for p in commands.commands[name].params for option in p.opts}
        assert {option for option in options if option.startswith("-")} <= known


def test_the_page_of_releases_has_the_workflows_for_users() -> None:
    for file in USERS:
        assert f"(workflows/{file.name})" in page("docs/releasing.md")


def test_workflows_of_users_have_the_example_s_versions() -> None:
    project = tomllib.loads(page("example_project/pyproject.toml"))
    (pin,) = (r for r in project["build-system"]["requires"] if r.startswith("torch=="))
    text = (REPOSITORY / "docs/workflows/uv.yml").read_text(encoding="utf-8")
    assert re.findall(r"torch==[\d.]+", text) == [pin]
    assert f"python -m {project['tool']['aotbuild']['package']}" in text


def test_cibuildwheel_builds_one_wheel_of_the_example() -> None:
    pytest.importorskip("cibuildwheel", reason="cibuildwheel is not installed")
    command = [sys.executable, "-P", "-m", "cibuildwheel", "--platform", "linux"]
    command += ["--archs", "x86_64", "--print-build-identifiers", "example_project"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["cp311-manylinux_x86_64"]
    assert any("cibuildwheel==4.*" in line for line in lines(USERS[0]))
