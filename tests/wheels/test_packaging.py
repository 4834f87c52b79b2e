"""Projects whose wheels had no models, or had them where no import finds them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from torch_pin import pinned
from wheels import Build, Installed, assert_refused, install, pip_wheel

PYPROJECT = pinned(
    """\
[build-system]
requires = ["scikit-build-core>=1.1", "aotbuild", "torch==2.13.0"]
build-backend = "scikit_build_core.build"

[project]
name = "tiny-conv"
dynamic = ["version", "dependencies"]
requires-python = ">=3.11"

[tool.scikit-build.metadata.version]
provider = "scikit_build_core.metadata.regex"
input = "src/tinyconv/__init__.py"

[[tool.dynamic-metadata]]
provider = "aotbuild"

[tool.aotbuild]
cpu-levels = ["x86-64-v3", "armv8"]

[tool.aotbuild.models.net]
source = "tinyconv.net:Net"
inputs.x = { shape = [2, 3] }
"""
)
NET = """\
from torch import nn


class Net(nn.Module):
    def forward(self, x):
        return x * 2 + 1
"""
WORKING = PYPROJECT.replace(
    "[tool.scikit-build.metadata.version]\n", '[[tool.dynamic-metadata]]\nfield = "version"\n'
)
CALL = (
    "import json, torch; from {package}.models import net; import {package}.net; "
    "print(json.dumps(net(torch.ones(2, 3)).tolist()))"
)


def write(directory: Path, text: str, package: str = "tinyconv") -> Path:
    """A project with one model, which has no weights, in ``src``."""
    own = directory / "src" / package
    own.mkdir(parents=True)
    (own / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (own / "net.py").write_text(NET)
    (directory / "pyproject.toml").write_text(text)
    return directory


def lines_of(build: Build) -> str:
    """The lines that the error of a build proposes."""
    _, *lines = build.output[build.output.index("fix:") :].splitlines()
    proposed = itertools.takewhile(lambda line: line.startswith(" " * 9), lines)
    return "\n".join(line.strip() for line in proposed if not line.strip().startswith("or"))


def test_the_proposed_lines_make_a_wheel_whose_models_can_be_imported(
    tmp_path: Path, clean_python: Path
) -> None:
    project = write(tmp_path / "tiny", PYPROJECT)
    build = pip_wheel(project)
    assert_refused(build, "tool.scikit-build.metadata cannot stand beside tool.dynamic-metadata")
    old = PYPROJECT[PYPROJECT.index("[tool.scikit") : PYPROJECT.index("[[tool.dyn")]
    text = PYPROJECT.replace(old, f"{lines_of(build)}\n\n")
    (project / "pyproject.toml").write_text(text)
    build = pip_wheel(project)
    assert_refused(build, "the package tinyconv is not in the wheel")
    (project / "pyproject.toml").write_text(f"{text}\n{lines_of(build)}\n")
    build = pip_wheel(
        project, "-C", "install.components=python", "-C", "wheel.install-dir=elsewhere"
    )
    tiny = install(build, tmp_path / "installed", clean_python)
    assert tiny.wheel.name.startswith("tiny_conv-1.2.3-cp311-abi3-")
    assert tiny.run(CALL.format(package="tinyconv")) == [[3.0] * 3] * 2
    told = subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "check", "--project", str(project)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stderr == ""
    line = told.stdout.splitlines()[-1]
    assert line == "from tinyconv.models import net"
    assert tiny.run(f"import json; {line}; print(json.dumps(1))") == 1


def test_models_in_a_namespace_package(tmp_path: Path, clean_python: Path) -> None:
    text = WORKING.replace("tiny-conv", "acme-vision").replace("src/tinyconv", "src/acme/vision")
    text = text.replace("tinyconv.net", "acme.vision.net")
    project = write(tmp_path / "acme", text, "acme/vision")
    build = pip_wheel(project)
    assert_refused(build, "the package acme.vision is not in the wheel")
    (project / "pyproject.toml").write_text(f"{text}\n{lines_of(build)}\n")
    acme: Installed = install(pip_wheel(project), tmp_path / "installed", clean_python)
    assert acme.run(CALL.format(package="acme.vision")) == [[3.0] * 3] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-C", "wheel.cmake=false"], "switches CMake off"),
        (["-C", "wheel.exclude=*.so"], 'the pattern "*.so" takes files of the models out'),
        (["-C", "build.targets=ext"], "the models would not be compiled"),
        (["-C", "wheel.platlib=false"], "tagged as one of pure Python"),
    ],
)
def test_options_of_the_frontend_that_leave_the_models_out(
    tmp_path: Path, options: list[str], said: str
) -> None:
    packages = '\n[tool.scikit-build]\nwheel.packages = ["src/tinyconv"]\n'
    project = write(tmp_path / "tiny", WORKING + packages)
    assert_refused(pip_wheel(project, *options), said)


def test_a_cmake_project_that_seems_to_add_the_models_and_does_not(tmp_path: Path) -> None:
    packages = '\n[tool.scikit-build]\nwheel.packages = ["src/tinyconv"]\n'
    project = write(tmp_path / "tiny", WORKING + packages)
    (project / "native").mkdir()
    (project / "native" / "CMakeLists.txt").write_text("# nothing\n")
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21...4.0)\nproject(tiny LANGUAGES NONE)\n"
        "add_subdirectory(native)\n"
    )
    build = pip_wheel(project)
    assert build.returncode != 0
    assert build.wheels == []
    assert "aotbuild: error: no CMakeLists.txt of the project adds the models" in build.output
    with (project / "native" / "CMakeLists.txt").open("a") as file:
        file.write("find_package(AotBuild REQUIRED)\naotbuild_add_model(other)\n")
    assert_refused(pip_wheel(project), 'the model "other" is not declared')


def test_a_build_by_setuptools_is_stopped(tmp_path: Path) -> None:
    text = WORKING.replace('build-backend = "scikit_build_core.build"\n', "")
    text = text.replace('dynamic = ["version", "dependencies"]', 'version = "1.0"')
    project = write(tmp_path / "tiny", text)
    assert_refused(pip_wheel(project), "no build backend is given", "setuptools is taken then")


def test_a_build_in_which_our_settings_are_switched_off(tmp_path: Path) -> None:
    project = write(tmp_path / "tiny", WORKING)
    build = pip_wheel(project, env={"SKBUILD_NO_ENTRYPOINT_CONFIG": "1"})
    assert_refused(build, "environment: SKBUILD_NO_ENTRYPOINT_CONFIG")
