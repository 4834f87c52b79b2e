"""docs/tutorial.md, typed in: its files are written, and its commands run, in their order."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from page_blocks import blocks

PAGE = "docs/tutorial.md"
MADE_ALREADY = ("python3 -m venv .venv", ". .venv/bin/activate", "pip install ")
"""What this environment has: the tests run in it, and take nothing from an index."""


def files() -> dict[str, str]:
    """The files that the page has typed in, by the names in their first lines."""
    found = [block for block in blocks(PAGE) if block.language == "python"]
    assert all(block.file for block in found)
    return {block.file: block.content for block in found}


def commands() -> list[str]:
    consoles = [block for block in blocks(PAGE) if block.language == "console"]
    return [command for block in consoles for command, _ in block.commands()]


@pytest.fixture(scope="module")
def typed_in(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The project's directory after all commands, and what each of them printed."""
    directory = tmp_path_factory.mktemp("tutorial")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "0",  # 0 is how pip reads that there is to be none
        "PIP_NO_INDEX": "1",
    }
    printed: dict[str, str] = {}
    for command in commands():
        if command.startswith("cd "):
            directory /= command.removeprefix("cd ")
            for name, text in files().items():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).write_text(text, encoding="utf-8")
            continue
        if command.startswith(MADE_ALREADY):
            continue
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        printed[command] = done.stdout
    return directory, printed


def test_the_network_is_trained_and_runs_elsewhere(typed_in: tuple[Path, dict[str, str]]) -> None:
    _, printed = typed_in
    trained = re.search(r"wrong by (\d+) cents", printed["python train.py"])
    assert trained
    assert int(trained[1]) < 100  # less than a semitone
    (heard,) = ast.literal_eval(printed["elsewhere/bin/python -P hear.py"])
    assert heard == pytest.approx(440, rel=0.05)


def test_the_declaration_is_that_of_the_page(typed_in: tuple[Path, dict[str, str]]) -> None:
    directory, _ = typed_in
    (shown,) = (block.text for block in blocks(PAGE) if block.language == "toml")
    written = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
    assert written["tool"]["aotbuild"] == tomllib.loads(shown)["tool"]["aotbuild"]
    assert shown in (directory / "pyproject.toml").read_text(encoding="utf-8")


def test_the_wheel_needs_nothing_and_can_be_published(
    typed_in: tuple[Path, dict[str, str]],
) -> None:
    directory, printed = typed_in
    assert "needs no other package" in printed["aotbuild inspect pitchnet-*.whl"]
    assert "pitch  " in printed["aotbuild inspect pitchnet-*.whl"]
    assert "self-test passed" in printed["aotbuild repair pitchnet-*.whl"]
    (repaired,) = (directory / "wheelhouse").glob("*.whl")
    assert "manylinux" in repaired.name
