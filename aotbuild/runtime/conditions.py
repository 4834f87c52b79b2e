"""Conditions between sizes: Python expressions of arithmetic, comparisons and a few functions."""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("ceil", "exp", "floor", "log", "log2", "sqrt")},
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: getattr(math, name) for name in ("sinh", "cosh", "tanh", "asinh", "trunc")},
    **{function.__name__: function for function in (abs, float, max, min, round)},
}
"""What a condition may call."""

_ARITHMETIC = (
    *(ast.Expression, ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.BoolOp, ast.IfExp, ast.operator, ast.unaryop, ast.cmpop, ast.boolop),
)


def holds(condition: str, sizes: Mapping[str, int]) -> bool:
    """Whether a condition holds.

    Args:
        condition: Such as ``floor(0.5*frames) >= 1``.
        sizes: The sizes of its dimensions, by name.

    Raises:
        ValueError: It is anything else than a condition.
    """
    code = compiled(condition)
    try:
        return bool(eval(code, {"__builtins__": {}, **_FUNCTIONS}, dict(sizes)))  # noqa: S307  # arithmetic
    except (ArithmeticError, ValueError):  # such as a division by a size that is 0
        return False


def calls(condition: str) -> bool:
    """Whether a condition calls a function, and is more than arithmetic."""
    return any(isinstance(node, ast.Call) for node in ast.walk(ast.parse(condition, mode="eval")))


@functools.cache
def compiled(condition: str) -> Any:
    """The code of a condition, for ``eval`` with the sizes of its dimensions.

    Raises:
        ValueError: It is anything else than a condition.
    """
    tree = _Functions().visit(ast.parse(condition, mode="eval"))
    allowed = all(isinstance(node, (*_ARITHMETIC, ast.Call)) for node in ast.walk(tree))
    if not allowed:
        raise ValueError(f"{condition!r} is no condition between sizes")
    return compile(ast.fix_missing_locations(tree), "<condition>", "eval")


_PREFIX = "function "
"""No dimension begins so: one may be called as a function is, such as ``round``."""
_FUNCTIONS = {f"{_PREFIX}{name}": function for name, function in FUNCTIONS.items()}


class _Functions(ast.NodeTransformer):
    """Gives functions their own names."""

    def visit_Call(self, node: ast.Call) -> ast.AST:  # as ast calls it
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS or node.keywords:
            raise ValueError(f"{ast.unparse(node)!r} is no function of a size")
        function = ast.Name(f"{_PREFIX}{name}", ast.Load())
        return ast.Call(function, [self.visit(argument) for argument in node.args], [])
