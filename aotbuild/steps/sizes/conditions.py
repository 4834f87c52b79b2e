"""Symbolic conditions as Python: what torch assumed of sizes, for the runtime and for proofs.

torch prints its expressions for its own use, with functions of torch in them. Here they are the
functions of ``aotbuild.runtime.conditions``, on plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sympy
from sympy.printing.precedence import PRECEDENCE
from torch.utils._sympy.printers import PythonPrinter

from aotbuild.runtime.conditions import FUNCTIONS

_CALLS = {
    "ToFloat": "float",
    "TruncToFloat": "trunc",
    "TruncToInt": "trunc",
    "FloorToInt": "floor",
    "floor": "floor",
    "CeilToInt": "ceil",
    "ceiling": "ceil",
    "RoundToInt": "round",
    "RoundDecimal": "round",
    "Abs": "abs",
    "Max": "max",
    "Min": "min",
}
"""Functions of torch's expressions and of sympy's, and what computes the same of numbers."""

_OPAQUE = "OpaqueUnaryFn_"
"""How torch begins the names of functions that sympy must not simplify."""


class ConditionPrinter(PythonPrinter):
    """Prints an expression of torch's sizes in Python's arithmetic and ``FUNCTIONS``."""

    def _print_Function(self, expr: Any) -> str:  # noqa: N802  # as sympy calls it
        name = type(expr).__name__
        return self._call(_CALLS.get(name, name.removeprefix(_OPAQUE)), expr)

    def _call(self, function: str, expr: Any) -> str:
        if function not in FUNCTIONS:
            raise NotImplementedError(f"{function} of a size")
        return f"{function}({', '.join(self._print(argument) for argument in expr.args)})"

    def _print_Float(self, expr: Any) -> str:  # noqa: N802
        return repr(float(expr))

    def _print_CeilDiv(self, expr: Any) -> str:  # noqa: N802
        base, divisor = (self.parenthesize(a, PRECEDENCE["Atom"] - 0.5) for a in expr.args)
        return f"-(-{base} // {divisor})"

    def _print_IntTrueDiv(self, expr: Any) -> str:  # noqa: N802
        return f"({super()._print_IntTrueDiv(expr)})"

    def _print_Where(self, expr: Any) -> str:  # noqa: N802
        condition, yes, no = (self._print(argument) for argument in expr.args)
        return f"({yes} if {condition} else {no})"

    def _print_Piecewise(self, expr: Any) -> str:  # noqa: N802
        text = "0"
        for value, condition in reversed(expr.args):
            if condition == sympy.true:
                text = self._print(value)
            else:
                text = f"({self._print(value)} if {self._print(condition)} else {text})"
        return text

    def _print_Infinity(self, expr: Any) -> str:  # noqa: N802
        del expr
        return "1e999"

    def _print_NegativeInfinity(self, expr: Any) -> str:  # noqa: N802
        del expr
        return "-1e999"


for _name in (*_CALLS, *(f"{_OPAQUE}{name}" for name in FUNCTIONS)):
    # Before the methods of torch's own printer, which are found by the same names.
    setattr(ConditionPrinter, f"_print_{_name}", ConditionPrinter._print_Function)


def condition_text(expression: sympy.Basic) -> str:
    """An expression of sizes as Python.

    Args:
        expression: Its symbols have the names that it is to have there.

    Raises:
        NotImplementedError: It has a function that is not known here.
    """
    return str(ConditionPrinter().doprint(sympy.sympify(expression)))


def as_function(expression: sympy.Basic, symbols: Sequence[sympy.Symbol]) -> Callable[..., bool]:
    """Whether a condition holds, as a function of the values of its symbols.

    Python's own arithmetic is a hundred times faster than sympy's, for thousands of sizes.

    Args:
        expression: The condition.
        symbols: Its symbols, in the order in which the function takes their values.

    Raises:
        NotImplementedError: It has a function that is not known here.
    """
    code = compile(condition_text(expression), "<guard>", "eval")
    names = [str(symbol) for symbol in symbols]

    def holds(*values: int) -> bool:
        given = dict(zip(names, values, strict=True))
        try:
            return bool(eval(code, {"__builtins__": {}, **FUNCTIONS}, given))  # noqa: S307
        except (ArithmeticError, ValueError):  # such as a division by 0
            return False

    return holds
