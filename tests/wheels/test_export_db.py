"""Torch's own export database: its special examples, and some of the others.

``make export-db`` does the same with all of them.
"""

from __future__ import annotations

from pathlib import Path

from export_db import COMPARE, supported, write_project
from wheels import Installed, install, pip_wheel

NAMES = [
    "assume_constant_result",  # a slice up to a number of an input, whose start is left out
    "constrain_as_size_example",  # a size of the result that is the value of an input
    "scalar_output",  # a number, and no tensor
    "model_attr_mutation",  # sets and restores an attribute of the module
    "fn_with_kwargs",  # every kind of parameter
    "user_input_mutation",  # changes an input in place
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
