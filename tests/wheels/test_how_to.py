"""The how-to guides, typed in: their files are written, and their commands print what they show."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from page_blocks import Block, first_project, type_in, write
from wheels import STANDALONE

FROM_THE_FIRST_PAGE = ("dynamic-shapes", "several-models", "own-cmake", "slow-builds")
FROM_NOTHING = ("migrate", "layouts")
WITH_THE_WHEEL = ("wrong-result", "gpu", "runtime", "manifest")


def begun(directory: Path) -> Path:
    """The project that most pages begin with.

    Its build would first find out what runs the model, which takes as long as to trace it again.
    """
    project = first_project(directory)
    settings = f'# pyproject.toml\n[tool.aotbuild]\nruntime = "{STANDALONE}"\n'
    write(Block("toml", settings), project)
    return project


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of the page about CPU levels, with its wheel, built and installed."""
    project = begun(tmp_path_factory.mktemp("levels"))
    type_in("docs/cpu-levels.md", project)
    return project


@pytest.mark.parametrize("page", FROM_THE_FIRST_PAGE)
def test_a_page_that_begins_with_the_first_one(page: str, tmp_path: Path) -> None:
    type_in(f"docs/{page}.md", begun(tmp_path))


@pytest.mark.parametrize("page", FROM_NOTHING)
def test_a_page_with_a_project_of_its_own(page: str, tmp_path: Path) -> None:
    type_in(f"docs/{page}.md", tmp_path)


@pytest.mark.parametrize("page", WITH_THE_WHEEL)
def test_a_page_that_begins_with_a_wheel(page: str, levels: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(levels, project)
    type_in(f"docs/{page}.md", project)


def test_a_program_is_frozen(levels: Path, tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller", reason="pyinstaller is not installed")
    project = tmp_path / "project"
    shutil.copytree(levels, project)
    type_in("docs/frozen.md", project)


def test_what_a_page_shows_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(text: str) -> None:
        page = tmp_path / "page.md"
        page.write_text(text, encoding="utf-8")
        monkeypatch.setattr("page_blocks.REPOSITORY", tmp_path)
        type_in("page.md", tmp_path)

    written = "```python\n# a/hello.py\nprint('a  b')\nprint('c')\n```\n"
    shown(f"{written}```console\n$ python a/hello.py\na b\n...\n$ x=2\n$ echo $x\n2\n```\n")
    assert (tmp_path / "a/hello.py").read_text() == "print('a  b')\nprint('c')\n"
    with pytest.raises(AssertionError, match=r"shows ' b c d"):
        shown(f"{written}```console\n$ python a/hello.py\na ... b c d\n```\n")
    with pytest.raises(AssertionError, match="false"):
        shown("```console\n$ false\n```\n")
    shown("```console\n$ echo aotbuild: error: no; false\n```\n```text\naotbuild: error: no\n```\n")
    with pytest.raises(AssertionError, match="true"):
        shown("```console\n$ true\n```\n```text\naotbuild: error: no\n```\n")
