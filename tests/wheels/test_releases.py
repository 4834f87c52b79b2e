"""What the workflows of releases run, run here: aotbuild's own, and the one of a user with uv."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_repository import tracked
from wheels import REPOSITORY, copy_package, keep_models

VERSION = importlib.metadata.version("aotbuild")
STRAY = (
    *("build/demo/left.py", "dist/aotbuild-0.0.1.tar.gz", ".venv/bin/python", ".venv-2.14.1/x"),
    *("aotbuild/__pycache__/errors.cpython-311.pyc", ".mypy_cache/x", ".ruff_cache/x"),
    *(".pytest_cache/x", "aotbuild.egg-info/PKG-INFO"),
)
"""Files that lie about in a checkout, and are none of the project's."""


def commands(workflow: Path, job: str) -> list[str]:
    steps: list[dict[str, Any]] = yaml.safe_load(workflow.read_text("utf-8"))["jobs"][job]["steps"]
    return [step["run"] for step in steps if "run" in step]


def run(command: str, directory: Path, **variables: str) -> str:
    """Run a step as GitHub does; the scripts of this environment come first."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, as the workflow has it, and what lies about in one."""
    directory = tmp_path_factory.mktemp("checkout")
    for path in tracked():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, directory / path)
    for name in STRAY:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("left from before", encoding="utf-8")
    changelog = directory / "CHANGELOG.md"
    dated = changelog.read_text("utf-8").replace("(unreleased)", "(2030-01-01)", 1)
    changelog.write_text(dated, encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def released(checkout: Path) -> Path:
    """The directory with the sdist and the wheel that the workflow of releases makes and checks."""
    for tool in ("twine", "check_wheel_contents"):
        pytest.importorskip(tool, reason=f"{tool} is not installed")
    (checkout / "dist" / "aotbuild-0.0.1.tar.gz").unlink()
    for command in commands(REPOSITORY / ".github/workflows/release.yml", "build"):
        if "pip install" not in command:
            here = command.replace("python -m build", "python -P -m build --no-isolation")
            run(here, checkout, GITHUB_REF_NAME=f"v{VERSION}")
    return checkout / "dist"


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_sdist_has_each_file_of_the_repository_and_no_other(released: Path) -> None:
    (sdist,) = released.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sdist.name == f"aotbuild-{VERSION}.tar.gz"
    assert names == {path.as_posix() for path in tracked()} | {"PKG-INFO"}


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(released: Path, tmp_path: Path) -> None:
    (wheel,) = released.glob("*.whl")  # python -m build makes it from the sdist
    run(f"python -P -m build --no-isolation --wheel -o {tmp_path}", released.parent)
    (direct,) = tmp_path.glob("*.whl")
    assert contents(wheel) == contents(direct)


def test_the_wheel_has_the_package_and_nothing_else(released: Path) -> None:
    (wheel,) = released.glob("*.whl")
    found = contents(wheel)
    info = f"aotbuild-{VERSION}.dist-info/"
    own = {path.as_posix() for path in tracked() if path.parts[0] == "aotbuild"}
    own |= {f"aotbuild/{path.as_posix()}" for path in tracked() if path.parts[0] == "cmake"}
    assert {name for name in found if not name.startswith(info)} == own
    points = found[f"{info}entry_points.txt"].decode()
    for group in ("cmake.root", "scikit-build-core.config.default", "console_scripts"):
        assert f"[{group}]\n" in points
    assert f"{info}licenses/LICENSE" in found


@pytest.mark.parametrize("tag", ["v0.0.9", "v0.1", "v0.1.0.post1"])
def test_a_tag_of_another_version_is_not_released(checkout: Path, tag: str) -> None:
    build = commands(REPOSITORY / ".github/workflows/release.yml", "build")
    (check,) = (command for command in build if "pyproject.toml" in command and "grep" in command)
    run(check, checkout, GITHUB_REF_NAME=f"v{VERSION}")
    with pytest.raises(AssertionError, match="grep"):
        run(check, checkout, GITHUB_REF_NAME=tag)


def test_the_steps_of_the_workflow_with_uv_make_a_wheel_that_runs(tmp_path: Path) -> None:
    pytest.importorskip("uv", reason="uv is not installed")
    project = keep_models(copy_package(tmp_path, "example_project", "auto"), "net")
    here = {"VIRTUAL_ENV": sys.prefix, "UV_OFFLINE": "1", "UV_PYTHON": sys.executable}
    said = {}
    for command in commands(REPOSITORY / "docs/workflows/uv.yml", "wheel"):
        if "uv pip install" not in command:
            said[command] = run(command, project, **here)
    (sdist,) = (project / "dist").glob("*.tar.gz")
    (wheel,) = (project / "dist").glob("*.whl")
    assert sdist.name == "digits-0.1.0.tar.gz"
    assert "-cp311-abi3-manylinux_2_" in wheel.name
    (tested,) = (text for command, text in said.items() if command.endswith("-m digits.models"))
    assert "net" in tested
