"""The runtime without docstrings is the same code, line by line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from source_tree import PACKAGE

from aotbuild.steps.package.docstrings import without_docstrings

MODULES = sorted((PACKAGE / "runtime").glob("*.py"))


def code(text: str) -> list[str]:
    """What Python makes of a module, with its lines, where docstrings do not count."""
    kept = []
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str | type(...))
        if not is_text and not isinstance(node, ast.Expr):
            kept.append(f"{type(node).__name__} {getattr(node, 'lineno', 0)}")
    return sorted(kept)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_code_and_lines_stay(path: Path) -> None:
    text = path.read_text("utf-8")
    short = without_docstrings(text)
    assert len(short.splitlines()) == len(text.splitlines())
    assert code(short) == code(text)
    for node in ast.walk(ast.parse(short)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            assert ast.get_docstring(node) is None
    assert without_docstrings(short) == short


CASES = {
    '"""A module."""\nx = 1\n': "\nx = 1\n",
    'def f():\n    """Text,\n\n    of lines."""\n': "def f():\n    ...\n\n\n",
    'class A:\n    """A."""\n\n    x: int\n    """Its x."""\n': "class A:\n\n\n    x: int\n\n",
    'class A:\n    """A."""\n    """B."""\n': "class A:\n    ...\n\n",
    'x = 1; "a string"\n': 'x = 1; "a string"\n',
    'text = """not\na docstring"""\n': 'text = """not\na docstring"""\n',
    "async def f():\n    'ä'\n    return 1\n": "async def f():\n\n    return 1\n",
}


@pytest.mark.parametrize(("text", "short"), CASES.items())
def test_strings_are_left_out_and_nothing_else(text: str, short: str) -> None:
    assert without_docstrings(text) == short
    compile(short, "short", "exec")
