"""What the pages of the documentation say is true of the code, and what they show can be read."""

from __future__ import annotations

import ast
import doctest
import functools
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from page_blocks import Block, blocks, first_project, merged
from source_tree import MODULES, REPOSITORY, code, page, section, table, tree_of
from validate_pyproject.api import Validator

from aotbuild import errors
from aotbuild.config.parse import parse_table
from aotbuild.config.schema import Config
from aotbuild.runtime import errors as runtime_errors

PAGES = [
    "README.md",
    *(file.relative_to(REPOSITORY).as_posix() for file in sorted(REPOSITORY.glob("docs/*.md"))),
]
ERRORS = page("docs/errors.md")


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator()


@pytest.mark.parametrize("name", PAGES)
def test_blocks_of_python_can_be_parsed(name: str) -> None:
    for block in blocks(name):
        if block.language == "python":
            examples = doctest.DocTestParser().get_examples(block.text)
            for text in [each.source for each in examples] or [block.text]:
                compile(text, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


SOURCE = {"source": "digits.network:Net"}


def readings(text: str) -> list[dict[str, Any]]:
    """The tables that a block shows: one, or several where each line is another choice."""
    try:
        return [tomllib.loads(text)]
    except tomllib.TOMLDecodeError:
        return [tomllib.loads(line) for line in text.splitlines()]


def completed(shown: dict[str, Any]) -> dict[str, Any]:
    """A part of a declaration, as pages show it, with what has to be there besides."""
    if not shown.keys() & {"project", "tool", "build-system"}:
        shown = {"tool": {"aotbuild": {"models": {"net": shown}}}}
    tool = merged({"aotbuild": {"models": {}}}, shown.get("tool", {}))
    models = tool["aotbuild"]["models"] or {"net": {}}
    tool["aotbuild"]["models"] = {name: {**SOURCE, **model} for name, model in models.items()}
    project = {"name": "digits", **shown.get("project", {})}
    if "version" not in project.get("dynamic", []):
        project.setdefault("version", "1")
    return {**shown, "project": project, "tool": tool}


@pytest.mark.parametrize("name", PAGES)
def test_blocks_of_toml_can_be_declared(name: str, validator: Validator) -> None:
    for block in blocks(name):
        if block.language == "toml":
            for shown in readings(block.text):
                validator(completed(shown))


GUIDES = (
    "cpu-levels",
    "dynamic-shapes",
    "own-cmake",
    "several-models",
    "slow-builds",
    "wrong-result",
)


@pytest.mark.parametrize("name", GUIDES)
def test_what_a_guide_adds_to_the_first_project_is_a_declaration(
    name: str, validator: Validator, tmp_path: Path
) -> None:
    project = first_project(tmp_path)
    whole = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    for block in blocks(f"docs/{name}.md"):
        if block.file == "pyproject.toml":
            whole = merged(whole, tomllib.loads(block.content))
    validator(whole)
    assert parse_table(Config, whole["tool"]["aotbuild"], "tool.aotbuild").models


def test_a_named_block_is_a_file() -> None:
    block = Block("python", "# a/b.py\nx = 1\n")
    assert (block.file, block.content) == ("a/b.py", "x = 1\n")
    assert Block("python", "x = 1  # a.py\n").file == ""


def classes_of(module: object) -> set[str]:
    return {
        name
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, Exception) and not name.startswith("_")
    }


def test_the_error_that_the_page_shows_is_the_one_that_is_told() -> None:
    (shown,) = (block.text for block in blocks("docs/errors.md") if block.language == "text")
    wrong = {"models": {"net": {**SOURCE, "wights": "net.pt"}}}
    with pytest.raises(errors.ConfigError) as caught:
        parse_table(Config, wrong, "tool.aotbuild")
    assert caught.value.block().startswith(shown.rstrip().removesuffix("..."))


def test_every_error_is_on_the_page() -> None:
    build, run = section(ERRORS, "In a build"), section(ERRORS, "At run time")
    assert classes_of(errors) - set(code(build)) == set()
    assert classes_of(runtime_errors) - set(code(run)) == set()
    assert {"AotBuildError", "StateError"} <= classes_of(errors) | classes_of(runtime_errors)


@functools.cache
def texts() -> list[str]:
    """The texts in the code, with ``...`` for what is put into them."""
    found = []
    for file in MODULES.values():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.JoinedStr):
                parts = [n.value if isinstance(n, ast.Constant) else "..." for n in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def rows() -> list[list[str]]:
    """The rows of all tables of the page."""
    found = []
    for part in re.split(r"^#+ .*$", ERRORS, flags=re.MULTILINE):
        if "|---" in part:
            found += table(part)
    return found


MESSAGES = [code(row[1])[0] for row in rows()]


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_of_the_page_are_those_of_the_code(message: str) -> None:
    """All words of a message stand in one text of the code, in their order."""
    words = [re.escape(part.strip()) for part in message.split("...") if part.strip()]
    pattern = re.compile(".*?".join(words), re.DOTALL)
    assert any(pattern.search(text) for text in texts()), message


def test_a_message_that_nobody_gives_would_be_found() -> None:
    assert len(MESSAGES) > 40
    assert not any(re.search("forward.*makes coffee", text) for text in texts())


def test_the_page_of_cmake_has_what_the_module_defines() -> None:
    module = page("cmake/AotBuild.cmake")
    defined = re.findall(r"^function\((aotbuild_\w+)", module, re.MULTILINE)
    defined += re.findall(r"add_custom_target\((\w+)", module)
    text = page("docs/cmake.md")
    named = set(re.findall(r"`(aotbuild_\w+)", text))
    assert named == set(defined)
    assert set(re.findall(r"^\.\. variable:: (\w+)", module, re.MULTILINE)) <= set(code(text))
    assert "3.21" in text
    assert "CMAKE_VERSION VERSION_LESS 3.21" in module


def test_figures_of_the_comparison_are_those_of_the_benchmarks() -> None:
    figures = re.findall(
        r"(?<![\w.`-])\d+(?:\.\d+)?(?= (?:to|ms|us|s|times)\b)", page("docs/comparison.md")
    )
    assert len(figures) > 15
    measured = set(re.findall(r"\d+(?:\.\d+)?", page("docs/benchmarks.md")))
    assert [figure for figure in figures if figure not in measured] == []
