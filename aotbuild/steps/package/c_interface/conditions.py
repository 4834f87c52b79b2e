"""Conditions between sizes as C: the expressions that ``runtime/conditions.py`` evaluates."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class _Value:
    """An expression of C."""

    code: str
    real: bool = False
    """Whether it is a floating-point number; else a whole one."""

    @property
    def as_real(self) -> str:
        """The value as a floating-point number."""
        return self.code if self.real else f"(double){self.code}"


_SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ROUNDED = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "nearbyint"}
_REAL = {
    *("exp", "log", "log2", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan"),
    *("sinh", "cosh", "tanh", "asinh"),
}
_LARGEST = 2**63 - 1


def condition_in_c(condition: str, dims: Sequence[str]) -> str:
    """A condition as an expression of C, over ``dims[i]`` and ``failed``.

    Args:
        condition: Such as ``floor(0.5*frames) >= 1``.
        dims: Names of the dimensions.

    Raises:
        ValueError: It has something that is not translated.
    """
    return _value(ast.parse(condition, mode="eval").body, dims).code


def _value(node: ast.expr, dims: Sequence[str]) -> _Value:  # noqa: C901  # a case each
    """An expression of a condition in C."""
    match node:
        case ast.Name(name) if name in dims:
            return _Value(f"(Whole)dims[{dims.index(name)}]")
        case ast.Constant(bool() | int() as number) if abs(number) <= _LARGEST:
            return _Value(f"(Whole){int(number)}")
        case ast.Constant(float() as number) if abs(number) <= 2.0**1000:
            return _Value(number.hex(), real=True)
        case ast.UnaryOp(ast.USub() | ast.UAdd() as sign, operand):
            value = _value(operand, dims)
            return _Value(f"({'-' if isinstance(sign, ast.USub) else '+'}{value.code})", value.real)
        case ast.UnaryOp(ast.Not(), operand):
            return _Value(f"(!{_value(operand, dims).code})")
        case ast.BinOp(left, operator, right):
            return _arithmetic(operator, _value(left, dims), _value(right, dims))
        case ast.BoolOp(operator, values):
            word = " && " if isinstance(operator, ast.And) else " || "
            return _Value(f"({word.join(_value(each, dims).code for each in values)})")
        case ast.Compare(left, operators, rights):
            compared = [_value(each, dims) for each in (left, *rights)]
            pairs = zip(compared, operators, compared[1:], strict=False)
            parts = [_compared(first, operator, second) for first, operator, second in pairs]
            return _Value(f"({' && '.join(parts)})")
        case ast.IfExp(test, body, orelse):
            first, second = _alike(_value(body, dims), _value(orelse, dims))
            return _Value(f"({_value(test, dims).code} ? {first.code} : {second.code})", first.real)
        case ast.Call(ast.Name(name), arguments, []):
            return _called(name, [_value(each, dims) for each in arguments])
    raise ValueError(f"{ast.unparse(node)!r} is not translated to C")


def _alike(first: _Value, second: _Value) -> tuple[_Value, _Value]:
    """Two values of one type."""
    if first.real == second.real:
        return first, second
    return _Value(first.as_real, real=True), _Value(second.as_real, real=True)


def _arithmetic(operator: ast.operator, left: _Value, right: _Value) -> _Value:
    left, right = _alike(left, right)
    real = left.real
    both = f"{left.code}, {right.code}, &failed"
    if type(operator) in _SIGNS:
        return _Value(f"({left.code} {_SIGNS[type(operator)]} {right.code})", real)
    match operator:
        case ast.Div():
            return _Value(f"divided({left.as_real}, {right.as_real}, &failed)", real=True)
        case ast.FloorDiv():
            return _Value(f"floor(divided({both}))" if real else f"floor_divided({both})", real)
        case ast.Mod():
            return _Value(f"{'rest' if real else 'modulo'}({both})", real)
        case ast.Pow():
            power = f"finite_number(pow({left.code}, {right.code}), &failed)"
            return _Value(power if real else f"power({both})", real)
    raise ValueError(f"{type(operator).__name__} is not translated to C")


def _compared(left: _Value, operator: ast.cmpop, right: _Value) -> str:
    if type(operator) not in _COMPARISONS:
        raise ValueError(f"{type(operator).__name__} is not translated to C")
    left, right = _alike(left, right)
    return f"{left.code} {_COMPARISONS[type(operator)]} {right.code}"


def _called(name: str, values: Sequence[_Value]) -> _Value:
    if name in {"min", "max"} and len(values) > 1:
        function = ("least", "fmin") if name == "min" else ("largest", "fmax")
        found = values[0]
        for value in values[1:]:
            first, second = _alike(found, value)
            found = _Value(f"{function[first.real]}({first.code}, {second.code})", first.real)
        return found
    if len(values) == 1:
        (value,) = values
        if name in _ROUNDED:
            rounded = f"whole({_ROUNDED[name]}({value.code}), &failed)"
            return _Value(rounded) if value.real else value
        if name == "abs":
            return _Value(
                f"fabs({value.code})" if value.real else f"largest({value.code}, -{value.code})",
                value.real,
            )
        if name == "float":
            return _Value(f"({value.as_real})", real=True)
        if name in _REAL:
            return _Value(f"finite_number({name}({value.as_real}), &failed)", real=True)
    raise ValueError(f"{name}() of {len(values)} is not translated to C")
