"""Torch's own export database: its special examples, and some of the others.

``make export-db`` does the same with all of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from export_db import COMPARE, supported, write_project
from wheels import Installed, install, pip_wheel

NAMES = [
    "assume_constant_result",  # a slice up to a number of an input, whose start is left out
    "constrain_as_size_example",  # a size of the result that is the value of an input
    "scalar_output",  # a number, and no tensor
    "model_attr_mutation",  # sets and restores an attribute of the module
    "fn_with_kwargs",  # every kind of parameter
]


def test_all_are_still_there() -> None:
    assert len(supported()) == 35
    assert set(NAMES) < set(supported())


def test_results_are_those_of_the_examples(tmp_path: Path, clean_python: Path) -> None:
    project = tmp_path / "project"
    write_project(project, NAMES)
    build = pip_wheel(project)
    assert build.returncode == 0, build.output
    installed: Installed = install(build, tmp_path / "installed", clean_python)
    assert installed.run(f"NAMES = {NAMES!r}\n{COMPARE}") == {}


@pytest.mark.parametrize("name", ["user_input_mutation"])
def test_what_is_refused_is_in_the_docs(name: str, tmp_path: Path) -> None:
    write_project(tmp_path / "project", [name])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", "check", "--project", tmp_path / "project"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("aotbuild: error: forward() changes its input x\n")
