"""Private names of torch in Python code: those with a word that begins with an underscore."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

_ROOT = "torch"


def private_names(code: str) -> set[str]:
    """The private names of torch that code uses, by their full names, the longest of each.

    Names that are imported, given to variables, or patched by their name in a string are followed.
    """
    tree = ast.parse(code)
    named = {_ROOT: _ROOT}
    found = set()
    for node in ast.walk(tree):
        for name, full in _imported(node):
            named[name] = full if name != _ROOT else _ROOT
            found.add(full)
    for _ in range(3):  # variables of variables
        for node in ast.walk(tree):
            for name, value in _assigned(node):
                full = _full(value, named)
                if full:
                    named[name] = full
    for node in ast.walk(tree):
        full = _full(node, named)
        if full:
            found.add(full)
    found = {re.sub(r"(\.__\w+__)+$", "", name) for name in found}
    private = {name for name in found if _is_private(name)}
    return {name for name in private if not any(o.startswith(f"{name}.") for o in private)}


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for each in node.names:
            if each.name.partition(".")[0] == _ROOT:
                yield (each.asname, each.name) if each.asname else (_ROOT, each.name)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == _ROOT:
        for each in node.names:
            yield each.asname or each.name, f"{node.module}.{each.name}"


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    targets: list[ast.AST] = []
    if isinstance(node, ast.Assign):
        targets, value = [*node.targets], node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets, value = [node.target], node.value
    for target in targets:
        if isinstance(target, ast.Name):
            yield target.id, value
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for each, one in zip(target.elts, value.elts, strict=False):
                if isinstance(each, ast.Name):
                    yield each.id, one


def _full(node: ast.AST, named: dict[str, str]) -> str:
    """The full name of an expression; empty if it is none of torch."""
    if isinstance(node, ast.Name):
        return named.get(node.id, "")
    if isinstance(node, ast.Attribute):
        owner, name = node.value, node.attr
    elif (
        isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in {"getattr", "setattr", "object", "hasattr"}
        and len(node.args) > 1
        and isinstance(node.args[1], ast.Constant)
    ):
        owner, name = node.args[0], str(node.args[1].value)
    elif (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "vars"
        and isinstance(node.slice, ast.Constant)
    ):
        owner, name = node.value.args[0], str(node.slice.value)
    else:
        return ""
    full = _full(owner, named)
    return f"{full}.{name}" if full else ""


def _is_private(name: str) -> bool:
    return any(word.startswith("_") and not word.endswith("__") for word in name.split("."))
