"""What a docstring owes its reader: every argument of a long list, and every error of ours."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from typing import TypeAlias

import pytest
from source_tree import MODULES, tree_of

from aotbuild import errors
from aotbuild.runtime import errors as runtime_errors

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

MOST = 2
"""Parameters that a sentence and good names explain; from the next one on each has its line."""

ERRORS = {
    name
    for module in (errors, runtime_errors)
    for name, cls in inspect.getmembers(module, inspect.isclass)
    if issubclass(cls, Exception) and cls.__module__ == module.__name__
}


CLASSES = {
    node.name: {method.name for method in node.body if isinstance(method, FUNCTION)}
    for file in MODULES.values()
    for node in tree_of(file).body
    if isinstance(node, ast.ClassDef)
}
"""The methods of all classes of aotbuild."""


def public_functions(tree: ast.Module) -> Iterator[tuple[str, Function, bool]]:
    """Functions and methods that other modules may call, and whether each is a method.

    Left out are magic methods, which the data model and the class's own docstring explain,
    functions inside of functions, which nobody else can call, and methods that do what a base class
    of ours explains.
    """
    for node in tree.body:
        if isinstance(node, FUNCTION):
            if not node.name.startswith("_"):
                yield node.name, node, False
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            explained = {name for base in node.bases for name in CLASSES.get(ast.unparse(base), ())}
            for method in node.body:
                if isinstance(method, FUNCTION) and not (
                    method.name.startswith("_") or method.name in explained
                ):
                    yield f"{node.name}.{method.name}", method, True


def parameters(function: Function, *, is_method: bool) -> list[str]:
    """The names of what a function takes, without ``self`` and ``cls``."""
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args)]
    if is_method and "staticmethod" not in decorators(function):
        names = names[1:]
    names += [each.arg for each in given.kwonlyargs]
    return names + [each.arg for each in (given.vararg, given.kwarg) if each is not None]


def decorators(function: Function) -> set[str]:
    """The last words of a function's decorators."""
    return {ast.unparse(each).rpartition(".")[2] for each in function.decorator_list}


def raised(function: Function) -> set[str]:
    """The errors of ours that a function's own statements raise.

    Inside of ``with reported()`` they end as SystemExit, and never reach who calls the function.
    """
    found = set()
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*FUNCTION, ast.ClassDef, ast.Lambda)):
            continue
        if isinstance(node, ast.With) and "reported()" in map(ast.unparse, node.items):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.add(ast.unparse(node.exc.func).rpartition(".")[2])
        waiting.extend(ast.iter_child_nodes(node))
    return found & ERRORS


def documented(docstring: str, heading: str) -> set[str]:
    """The names that a section of a docstring in Google's style explains."""
    section = re.search(rf"^{heading}:\n((?:[ ]+.*\n?|\n)*)", docstring, re.MULTILINE)
    return set(re.findall(r"^ {4}\*{0,2}(\w+):", section[1], re.MULTILINE)) if section else set()


def missing(tree: ast.Module) -> Iterator[str]:
    """What the docstrings of a module leave out."""
    for name, function, is_method in public_functions(tree):
        docstring = ast.get_docstring(function)
        if "overload" in decorators(function):
            continue  # the implementation has the docstring
        if any(word.startswith("command(") for word in decorators(function)):
            continue  # it is what --help prints, where each option has its own
        if docstring is None and is_method:
            # It does what the class that it derives from says, as each engine does what the
            # protocol says; ruff's D102 asks for a docstring where that is not so.
            continue
        names = parameters(function, is_method=is_method)
        absent = set(names) - documented(docstring or "", "Args")
        if len(names) > MOST and absent:
            yield f"{name}: Args: {', '.join(each for each in names if each in absent)}"
        absent = raised(function) - documented(docstring or "", "Raises")
        if absent:
            yield f"{name}: Raises: {', '.join(sorted(absent))}"


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_explain_arguments_and_errors(module: str) -> None:
    assert list(missing(tree_of(MODULES[module]))) == []


SAMPLE = '''
def short(a, b): ...
def whole(a, b, *rest):
    """Do it.

    Args:
        a: One.
        b: Two
            in two lines.
        *rest: More.

    Raises:
        ConfigError: It cannot.
    """
    raise ConfigError("x")
def bare(a, b, *, c):
    """Do it."""
    if a:
        raise errors.WeightsError("x")
def _private(a, b, c): ...
class Thing:
    def method(self, a, b):
        """Two and itself."""
    def longer(self, a, b, c):
        """Do it.

        Args:
            a: One.
            c: Three.
        """
    def implements(self, a, b, c): ...
class Native(Engine):
    def give_back(self, handles, given, more):
        """As the base class says."""
def hook():
    """Do it."""
    with reported():
        raise ConfigError("x")
'''


def test_the_rule_sees_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLASSES, "Engine", {"give_back"})
    assert {"ConfigError", "ModelLoadError"} <= ERRORS
    assert list(missing(ast.parse(SAMPLE))) == [
        "bare: Args: a, b, c",
        "bare: Raises: WeightsError",
        "Thing.longer: Args: b",
    ]
