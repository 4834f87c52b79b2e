"""Files between steps are named in one module each, and rooms import only from lower ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import aotbuild
from aotbuild.steps import artifacts

PACKAGE = Path(aotbuild.__file__).parent
STEPS = PACKAGE / "steps"
NAMES = sorted(
    set(re.findall(r"[\w.]+\.(?:json|so|pt2?|safetensors|py)\b", artifacts.__doc__ or ""))
)
FILES = sorted((PACKAGE).rglob("*.py"))


def strings(file: Path) -> Iterator[tuple[int, str]]:
    """The texts of a module, with their lines, but for docstrings and what stands like them."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and id(node) not in documentation:
            assert isinstance(node, ast.Constant)
            yield node.lineno, value


def test_the_table_names_the_files() -> None:
    assert {"plan.json", "compiled.json", "library.so", "samples.pt", "program.pt2"} <= set(NAMES)
    assert {"verified.json", "selftest.safetensors", "eager.py", "recipe.json"} <= set(NAMES)
    assert len(NAMES) >= 20


def test_only_the_modules_of_artifacts_name_them() -> None:
    # The package has files of its own, which the runtime reads under these names, and of which the
    # hook, that imports no steps, looks whether a wheel will have them.
    elsewhere = {PACKAGE / "runtime", PACKAGE / "hook"}
    named = [
        f"{file.relative_to(PACKAGE)}:{line}: {text}"
        for file in FILES
        if STEPS / "artifacts" not in file.parents and elsewhere.isdisjoint(file.parents)
        for line, text in strings(file)
        if text.rpartition("/")[2] in NAMES
    ]
    assert named == []


def test_each_is_named_once_and_by_the_module_that_the_table_has() -> None:
    table = dict(
        re.findall(
            r"^``(?:<?\w+>?/)?([\w.]+)``,? +``(\w+)``", artifacts.__doc__ or "", re.MULTILINE
        )
    )
    assert len(table) >= 18
    named: dict[str, set[str]] = {}
    for file in sorted((STEPS / "artifacts").glob("*.py")):
        for _, text in strings(file):
            if text in NAMES:
                named.setdefault(text, set()).add(file.stem)
    assert {name: modules for name, modules in named.items() if len(modules) > 1} == {}
    # Three files have the name of the weights file.
    del table["weights.safetensors"]
    # The name of the engine follows the interpreter.
    del table["_engine.abi3.so"]
    assert {name: named[name] for name in table} == {name: {table[name]} for name in table}
