"""The repository as a newcomer meets it: pages are true, commands are listed, all tests run."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
from samples import run_python
from source_tree import REPOSITORY, code, page, section, table, tree_of

from aotbuild.__main__ import aotbuild as commands

PAGES = [
    *("README.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("findings/README.md", "benchmarks/README.md"),
    *(file.relative_to(REPOSITORY).as_posix() for file in sorted(REPOSITORY.glob("docs/*.md"))),
]


def without_blocks(text: str) -> str:
    """A page's text without its fenced blocks, in which a ``#`` is no heading."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings have on the web."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def tracked() -> list[Path]:
    """The files of the repository, as git knows them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout of git")
    return [path for path in map(Path, done.stdout.splitlines()) if (REPOSITORY / path).exists()]


def test_the_table_of_the_readme_has_every_folder() -> None:
    folders = set()
    for path in tracked():
        first, *others = path.parts[:-1] or ("",)
        if first and not first.startswith("."):
            folders |= {f"aotbuild/{others[0]}"} if first == "aotbuild" and others else {first}
    rows = table(section(page("README.md"), "This repository"))
    assert {code(row[0])[0] for row in rows} == folders - {"aotbuild"}


@pytest.mark.parametrize("name", PAGES)
def test_links_between_pages_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page(name))):
        if re.match(r"\w+://", link):
            continue
        path, _, anchor = link.partition("#")
        file = (REPOSITORY / name).parent / path if path else REPOSITORY / name
        assert file.exists(), link
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), link


def test_the_paths_that_contributors_are_sent_to_exist() -> None:
    text = without_blocks(page("CONTRIBUTING.md"))
    paths = [path for path in code(text) if re.fullmatch(r"[\w.]+/[\w./]+", path)]
    assert len(paths) > 40
    # Of another torch, the environment has another name.
    own = [path for path in paths if not path.startswith(".venv/")]
    assert [path for path in own if not (REPOSITORY / path).exists()] == []


CALLS = [
    (name, line)
    for name in PAGES
    for line in re.findall(
        r"(?:^\$ |`)((?:python -m )?aotbuild [a-z][^`\n]*)", page(name), re.MULTILINE
    )
]


@pytest.mark.parametrize(("name", "line"), CALLS)
def test_calls_in_the_pages_are_understood(name: str, line: str) -> None:
    words = shlex.split(line.removeprefix("python -m "), comments=True)[1:]
    command: click.Command = commands
    context = click.Context(commands)
    while isinstance(command, click.Group) and words:
        command = command.commands[words.pop(0)]
    if {"WHEEL", "..."} & {*words} or not words:
        return  # of a command alone, by its name
    parsed = command.make_context(command.name, words, parent=context)
    assert parsed.params, name


def test_the_page_of_the_command_line_has_all_commands() -> None:
    rows = table(without_blocks(page("docs/commands.md")))
    assert sorted(code(row[0])[0] for row in rows) == sorted(
        f"aotbuild {command}" for command in commands.commands
    )


MAPS = [
    *("commands", "commands/doctor", "commands/init", "commands/init/backends"),
    "commands/inspect",
    *("hook", "config", "progress", "passes", "passes/graph", "passes/numerics", "runtime"),
    *("steps", "steps/choose", "steps/compile", "steps/export"),
    *("steps/package", "steps/reports", "steps/sizes", "steps/verify"),
]
"""The folders whose docstring has a line for each module and each folder in them."""


@pytest.mark.parametrize("folder", MAPS)
def test_the_map_of_a_folder_names_all_that_is_in_it(folder: str) -> None:
    place = REPOSITORY / "aotbuild" / folder
    text = ast.get_docstring(tree_of(place / "__init__.py")) or ""
    there = {file.stem for file in place.glob("*.py")} - {"__init__", "__main__"}
    there |= {child.name for child in place.iterdir() if [*child.glob("*.py"), *child.glob("*.h")]}
    assert there - set(re.findall(r"``(\w+)``", text)) == set()
    lines = re.findall(r"^- (.*?):", text, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"``(\w+)``", "".join(lines))) - there == set()


def test_make_lists_all_its_targets() -> None:
    done = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    listed = re.findall(r"^make (\S+) +\S", done.stdout, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.+)$", page("Makefile"), re.MULTILINE)
    targets = re.findall(r"^([a-z][a-z-]*):(?!=)", page("Makefile"), re.MULTILINE)
    assert sorted(listed) == sorted(phony.split()) == sorted(targets)


# Which files pytest comes to, without importing them: a plugin in place of the one for Python.
LOOK = """
import json, pytest

class Files:
    seen = []

    def pytest_collect_file(self, file_path):
        self.seen.append(file_path.as_posix())

status = pytest.main(["--collect-only", "-q", "-p", "no:python", "--noconftest"], plugins=[Files()])
assert status == pytest.ExitCode.NO_TESTS_COLLECTED, status
print(json.dumps(Files.seen))
"""


def test_pytest_without_arguments_comes_to_every_file_of_tests() -> None:
    seen = {Path(name) for name in run_python(LOOK, cwd=REPOSITORY)}
    tests = REPOSITORY / "tests"
    files = {
        *(tests / "unit").rglob("test_*.py"),
        *(tests / "wheels").rglob("test_*.py"),
        *(tests / "standalone").rglob("test_*.py"),
    }
    assert len(files) > 80
    assert files - seen == set()
    assert {file for file in tests.rglob("test_*.py") if file not in files} == set()
