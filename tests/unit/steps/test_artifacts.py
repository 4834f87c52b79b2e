"""Files between steps are named in one module each, and rooms import only from lower ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    # The package has files of its own, which the runtime reads under these names.
    elsewhere = PACKAGE / "runtime"
    named = [
        f"{file.relative_to(PACKAGE)}:{line}: {text}"
        for file in FILES
        if STEPS / "artifacts" not in file.parents and elsewhere not in file.parents
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
    assert {name: named[name] for name in table} == {name: {table[name]} for name in table}


ROOMS = {
    **dict.fromkeys(["artifacts"], 0),
    **dict.fromkeys(["sizes"], 1),
    **dict.fromkeys(["export", "package", "engine"], 2),
    **dict.fromkeys(["tune"], 3),
    **dict.fromkeys(["compile", "bundle"], 4),
    **dict.fromkeys(["verify"], 5),
    **dict.fromkeys(["plan"], 6),
}
"""How high each room of the steps is."""


def imported(file: Path) -> set[str]:
    """The modules of the steps that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aotbuild.steps"):
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            names |= {str(node.module), *(name for name in inner if module_file(name))}
    return names


def module_file(name: str) -> Path | None:
    """The file of a module of aotbuild; None where there is none."""
    place = PACKAGE.joinpath(*name.split(".")[1:])
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def room(name: str) -> str:
    """The room of a module of the steps; empty for those that stand beside the rooms."""
    parts = name.split(".")
    return parts[2] if len(parts) > 3 or (STEPS / parts[-1]).is_dir() else ""


MODULES = {
    ".".join(("aotbuild", *file.relative_to(PACKAGE).with_suffix("").parts)): file
    for file in sorted(STEPS.rglob("*.py"))
    if file.name != "__init__.py"
}


def test_every_room_has_its_height() -> None:
    rooms = {path.name for path in STEPS.iterdir() if path.is_dir() and path.name[0] != "_"}
    assert set(ROOMS) == rooms


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    own = room(name)
    for other in imported(MODULES[name]):
        if own and room(other) not in {"", own}:
            assert ROOMS[room(other)] < ROOMS[own], other


def test_no_modules_import_one_another_in_a_circle() -> None:
    imports = {name: imported(file) & MODULES.keys() for name, file in MODULES.items()}
    while imports:
        leaves = {name for name, others in imports.items() if not others & imports.keys()}
        assert leaves, sorted(imports)
        imports = {name: others for name, others in imports.items() if name not in leaves}
