"""What the README shows is true: its project builds, its code runs, its error is what is said."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest
from page_blocks import Block, blocks, first_project
from wheels import REPOSITORY, Installed, edited, install, pip_wheel


def block(language: str, file: str = "") -> Block:
    """The first block of a language, or the one that is this file."""
    return next(
        each
        for each in blocks("README.md")
        if each.language == language and file in {"", each.file}
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, numpy_python: Path) -> tuple[Path, Installed]:
    directory = tmp_path_factory.mktemp("readme")
    project = first_project(directory / "digits")
    commands = [command for command, _ in block("console").commands()]
    assert commands == ["pip wheel --no-deps .", "pip install digits-*.whl numpy"]
    return project, install(pip_wheel(project), directory / "installed", numpy_python)


def test_the_project_of_the_readme_builds_and_its_code_runs(
    shown: tuple[Path, Installed],
) -> None:
    _, wheel = shown
    named = re.search(r"`(digits-\S+\.whl)`", (REPOSITORY / "README.md").read_text())
    assert named
    assert wheel.wheel.name == named[1]
    code = block("python", "predict.py").content + "import json\nprint(json.dumps(logits.shape))"
    assert wheel.run(code, {}) == [32, 10]
    assert wheel.required == []


def test_the_package_holds_what_the_readme_lists(shown: tuple[Path, Installed]) -> None:
    text = (REPOSITORY / "README.md").read_text()
    listed = re.findall(r"^(digits/models/\S+)  ", text, re.MULTILINE)
    assert listed
    names = {name for name in shown[1].files if name.startswith("digits/models/")}
    patterns = [path + "*" if path.endswith("/") else path for path in listed]
    for pattern in patterns:
        assert fnmatch.filter(names, pattern), pattern
    for name in names - {"digits/models/py.typed"}:
        assert any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns), name


def test_the_error_of_the_readme_is_the_one_that_is_told(tmp_path: Path) -> None:
    source = first_project(tmp_path / "digits")
    edited(source, ('["batch"', '["bath"'))
    output = pip_wheel(source).output
    said = "\n".join(line.strip() for line in output.splitlines())
    expected = "\n".join(line.strip() for line in block("text").text.splitlines())
    assert expected in said


def test_the_cmake_lines_of_the_readme_are_those_of_the_default_project() -> None:
    shipped = (REPOSITORY / "cmake" / "CMakeLists.txt").read_text()
    for line in block("cmake").text.splitlines():
        assert line.split("  #")[0].rstrip() in shipped
