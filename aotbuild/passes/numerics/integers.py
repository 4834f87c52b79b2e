"""Inductor's arithmetic of integers, put right where it is not eager torch's.

Inductor (torch 2.13):

- follows sizes and ``arange`` as numbers without a type: ``arange(n).bool()`` is still 0, 1, 2, ...
  where it is multiplied, ``arange(n, dtype=uint8) * 13`` does not wrap, ``fmod`` of a negative
  number is Python's ``%``;
- adds, subtracts, multiplies and negates signed integers in C++, where an overflow is undefined:
  the compiler may take ``x + 1 > x`` for true;
- takes absolute values and quotients of 8 and 16 bits for ``int``, so that ``abs(-128)`` is 128;
- takes remainders in unused lanes too, and may say that it divided by zero there;
- compares truth values as it compares numbers where it derives bounds, and fails (mended in 2.14).

``test_integers.py`` notices when one can go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import sympy
import torch
from torch._inductor import index_propagation
from torch._inductor.bounds import ValueRangeAnalysis
from torch._inductor.codegen import cpp, cpp_utils
from torch._inductor.virtualized import V
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

_utils: Any = cpp_utils
_SHORT = {torch.int8, torch.uint8, torch.int16}
"""What C++ computes with as ``int``."""
_LONG = {torch.int32, torch.int64}


@contextlib.contextmanager
def exact_integers() -> Iterator[None]:
    """Let Inductor compute with integers as eager torch does."""
    scalars: Any = cpp.CppOverrides
    vectors: Any = cpp.CppVecOverrides
    propagation: Any = index_propagation.IndexPropagation
    analysis: Any = ValueRangeAnalysis
    with contextlib.ExitStack() as stack:
        for name, operator in (("add", "+"), ("sub", "-"), ("mul", "*")):
            original = vars(scalars)[name].__func__
            put = staticmethod(_wrapping(name, operator, original))
            stack.enter_context(patch.object(scalars, name, put))
        for name, make in (("neg", _negative), ("abs", _absolute), ("truncdiv", _quotient)):
            put = staticmethod(make(vars(scalars)[name].__func__))
            stack.enter_context(patch.object(scalars, name, put))
        put = staticmethod(_remainder(vars(vectors)["remainder"].__func__))
        stack.enter_context(patch.object(vectors, "remainder", put))
        propagate = _typed(propagation.propagate_sympy)
        stack.enter_context(patch.object(propagation, "propagate_sympy", propagate))
        equal = staticmethod(_equal(analysis.eq))
        stack.enter_context(patch.object(analysis, "eq", equal))
        yield


def _dtype(x: Any) -> torch.dtype | None:
    dtype: torch.dtype | None = getattr(x, "dtype", None)
    return dtype


def _unsigned(dtype: torch.dtype, x: Any) -> str:
    return f"static_cast<std::make_unsigned_t<{_utils.DTYPE_TO_CPP[dtype]}>>({x})"


def _wrapping(name: str, operator: str, original: Callable[..., str]) -> Callable[..., str]:
    def call(a: Any, b: Any) -> str:
        dtype = _utils.get_promote_dtype((a, b))
        if dtype not in _LONG:
            return original(a, b)
        return (
            f"{_utils.DTYPE_TO_CPP[dtype]}({_unsigned(dtype, a)} {operator} {_unsigned(dtype, b)})"
        )

    call.__name__ = name  # by which Inductor finds the function for single numbers
    return call


def _negative(original: Callable[..., str]) -> Callable[..., str]:
    def neg(x: Any) -> str:
        dtype = _dtype(x)
        if dtype not in _LONG:
            return original(x)
        assert dtype is not None  # noqa: S101
        return f"{_utils.DTYPE_TO_CPP[dtype]}(0 - {_unsigned(dtype, x)})"

    return neg


def _absolute(original: Callable[..., str]) -> Callable[..., str]:
    def abs(x: Any) -> str:  # noqa: A001  # by which Inductor finds it
        dtype = _dtype(x)
        if dtype in _SHORT:
            return f"{_utils.DTYPE_TO_CPP[dtype]}({original(x)})"
        if dtype in _LONG:
            assert dtype is not None  # noqa: S101
            return f"{x} < 0 ? {_utils.DTYPE_TO_CPP[dtype]}(0 - {_unsigned(dtype, x)}) : {x}"
        return original(x)

    return abs


def _quotient(original: Callable[..., str]) -> Callable[..., str]:
    def truncdiv(a: Any, b: Any) -> str:
        dtype = _utils.get_promote_dtype((a, b))
        return (
            f"{_utils.DTYPE_TO_CPP[dtype]}({original(a, b)})" if dtype in _SHORT else original(a, b)
        )

    return truncdiv


def _remainder(original: Callable[..., str]) -> Callable[..., str]:
    def remainder(a: Any, b: Any) -> str:
        if a.dtype.is_floating_point:
            return original(a, b)
        lanes = f"decltype({b})"
        ones = f"{lanes}::set({lanes}(1), {b}, {_utils.cexpr_index(V.kernel.num_elems)})"
        return f"remainder_integral({a}, {ones})"

    return remainder


def _typed(propagate: Callable[..., Any]) -> Callable[..., Any]:
    """Numbers are followed only as far as their type holds them."""

    def propagate_sympy(self: Any, name: str, args: Any, kwargs: Any) -> Any:
        operands = [each.value for each in args if hasattr(each, "is_symbolic")]
        ranges = dict(self.var_to_range)
        if name == "mod" and not all(_bounds(each.expr, ranges).lower >= 0 for each in operands):
            return self.fallback(name, args, kwargs)
        result = propagate(self, name, args, kwargs)
        typed = result.value
        if not result.is_symbolic or typed.is_constant() or _holds(typed, ranges):
            return result
        return self.fallback(name, args, kwargs)

    return propagate_sympy


def _holds(typed: Any, ranges: Any) -> bool:
    dtype = typed.dtype
    if dtype is torch.bool:
        return False
    if dtype.is_floating_point or dtype.is_complex or dtype.itemsize == 8:
        return True
    found, limits = _bounds(typed.expr, ranges), torch.iinfo(dtype)
    # Sizes without an upper limit are taken to be 32-bit numbers where the model makes them such.
    unknown = dtype is torch.int32 and not (found.lower.is_finite and found.upper.is_finite)
    return unknown or bool(found.lower >= limits.min and found.upper <= limits.max)


def _bounds(expr: Any, ranges: Any) -> Any:
    return bound_sympy(sympy.sympify(expr), ranges)


def _equal(original: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def eq(a: Any, b: Any) -> Any:
        a, b = ValueRanges.wrap(a), ValueRanges.wrap(b)
        if a.is_bool or b.is_bool:
            return ValueRanges(sympy.false, sympy.true)
        return original(a, b)

    return eq
