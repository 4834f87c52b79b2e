"""docs/environment.md has every variable that the code looks at, and no other one."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest
from source_tree import MODULES, PACKAGE, REPOSITORY, code, page, section, table, tree_of

TEXT = page("docs/environment.md")
NAME = re.compile(r"AOTBUILD_[A-Z][A-Z0-9_]*")
_GETENV = re.compile(r'getenv\("(AOTBUILD_\w+)"\)')
_QUOTED = re.compile(r'"(AOTBUILD_[A-Z][A-Z0-9_]*)"')

# What CMake knows, without the names that begin with an underscore: those are its own.
CMAKE = {
    name
    for file in sorted((REPOSITORY / "cmake").iterdir())
    if file.is_file()
    for name in re.findall(r"(?<!_)\bAOTBUILD_[A-Z][A-Z0-9_]*", file.read_text(encoding="utf-8"))
}


def names_in_python(tree: ast.Module) -> Iterator[str]:
    """Names that are strings by themselves, and those in C++ that a module writes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if NAME.fullmatch(node.value):
                yield node.value
            yield from _GETENV.findall(node.value)


def readers() -> dict[str, set[str]]:
    """For each variable, the parts of the package with code that looks at it."""
    found = defaultdict(set)
    for file in MODULES.values():
        place = "/".join(file.relative_to(REPOSITORY).parts[:2])
        for name in names_in_python(tree_of(file)):
            found[name].add(place)
    for pattern in ("*.c", "*.cpp", "*.h"):
        for file in PACKAGE.rglob(pattern):
            for name in _QUOTED.findall(file.read_text(encoding="utf-8")):
                found[name].add("/".join(file.relative_to(REPOSITORY).parts[:2]))
    return {name: places for name, places in found.items() if name not in CMAKE}


def test_the_search_finds_names_in_every_form() -> None:
    assert list(
        names_in_python(ast.parse('A = "AOTBUILD_X"\nB = "f(getenv(\\"AOTBUILD_Y\\"))"'))
    ) == [
        "AOTBUILD_X",
        "AOTBUILD_Y",
    ]
    assert {"AOTBUILD_CACHE", "AOTBUILD_KEPT_MB", "AOTBUILD_NUM_THREADS"} <= set(readers())
    assert "aotbuild/standalone" in readers()["AOTBUILD_NUM_THREADS"]
    assert "AOTBUILD_PROJECT_DIR" in CMAKE


def test_no_name_of_a_variable_is_put_together() -> None:
    """The search would miss it."""
    for name, file in MODULES.items():
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                assert not str(node.values[0].value).endswith("AOTBUILD_"), name


def test_the_table_has_all_variables_and_who_reads_them() -> None:
    rows = table(section(TEXT, "Variables"))
    assert {code(row[0])[0]: set(code(row[3])) for row in rows} == readers()
    names = [code(row[0])[0] for row in rows]
    assert names == sorted(names)


def test_every_row_has_values_a_default_and_a_place_to_read_more() -> None:
    for row in table(section(TEXT, "Variables")):
        assert all(row), row
        assert re.search(r"\]\([\w./-]+\.md", row[4]), row


def test_the_table_of_cmake_variables_is_complete() -> None:
    assert {code(row[0])[0] for row in table(section(TEXT, "CMake variables"))} == CMAKE


@pytest.mark.parametrize("name", sorted(readers()))
def test_the_page_that_is_referred_to_names_the_variable(name: str) -> None:
    row = next(row for row in table(section(TEXT, "Variables")) if code(row[0]) == [name])
    (link,) = re.findall(r"\]\(([\w./-]+\.md)", row[4])
    assert name in (REPOSITORY / "docs" / link).read_text(encoding="utf-8")
