"""Inductor's vectorised functions and reductions that give wrong numbers, put right.

Inductor (torch 2.13) computes, in vectors and nowhere else:

- ``expm1`` as ``exp(x) - 1`` and ``atanh`` as a logarithm of about 1, which lose small arguments,
  and ``erf`` by a formula whose error is absolute; ``elu``, ``selu``, ``celu``, ``gelu`` and others
  are made of them;
- ``acosh`` with an overflow inside, ``erfinv`` with errors of a hundred units near 1, ``remainder``
  with that of a rounded quotient;
- reductions of 8-bit integers, as the largest and the product, among lanes of a register that hold
  none of them.

The functions are put in place where it generates code, so that all that decomposes into them gets
them, in loops and branches too; scalar code calls the C library, which is exact. The reductions go
through 32-bit integers. ``test_stock_inductor_is_still_wrong`` notices when one can go.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch._inductor import ir
from torch._inductor.codegen import cpp
from torch._inductor.lowering import to_dtype
from torch._inductor.virtualized import ops

from aotbuild.passes.numerics.integers import exact_integers
from aotbuild.passes.template.kernel_text import kernel_text

_HEADER = "numerics/elementary.h"
_NAMESPACE = "aotbuild::exact"
_PREFIX = re.compile(r"#include [^\n]*cpp_prefix\.h[>\"]\n")
"""What each kernel includes, and the functions need."""

_UNARY = ("expm1", "erf", "erfinv", "atanh", "acosh")
_PLACES = {"argmin", "argmax"}
_REDUCTIONS = {"min", "max", "sum", "prod", "xor_sum"} | _PLACES
_WIDENED = {torch.int8: _REDUCTIONS, torch.uint8: _REDUCTIONS, torch.bool: _PLACES}
"""Reductions that are right for 32 bits only, by the type of what is reduced."""


@contextlib.contextmanager
def exact_functions() -> Iterator[None]:
    """Let Inductor generate exact code."""
    overrides: Any = cpp.CppVecOverrides
    with exact_integers(), contextlib.ExitStack() as stack:
        for name in _UNARY:
            stack.enter_context(patch.object(overrides, name, staticmethod(_call(name))))
        remainder = _of_floats("remainder", vars(overrides)["remainder"].__func__)
        stack.enter_context(patch.object(overrides, "remainder", staticmethod(remainder)))
        create = vars(ir.Reduction)["create"].__func__
        stack.enter_context(patch.object(ir.Reduction, "create", classmethod(_widened(create))))
        yield


def with_exact_functions(code: str) -> str:
    """Kernels with the functions that they call.

    Args:
        code: C++ code of kernels. Those that call none stay as they are.

    Raises:
        RuntimeError: There is no place for them.
    """
    if f"{_NAMESPACE}::" not in code:
        return code
    changed, count = _PREFIX.subn(lambda found: f"{found[0]}{kernel_text(_HEADER)}", code, count=1)
    if not count:
        raise RuntimeError("Inductor's kernels include no cpp_prefix.h, behind which theirs belong")
    return changed


def _call(name: str) -> Callable[[Any], str]:
    def call(x: Any) -> str:
        return f"{_NAMESPACE}::{name}({x})"

    call.__name__ = name  # by which Inductor finds the scalar function
    return call


def _of_floats(name: str, original: Callable[[Any, Any], str]) -> Callable[[Any, Any], str]:
    def call(a: Any, b: Any) -> str:
        if a.dtype.is_floating_point:
            return f"{_NAMESPACE}::{name}({a}, {b})"
        return original(a, b)

    call.__name__ = original.__name__
    return call


def _widened(create: Callable[..., Any]) -> Callable[..., Any]:
    """Reductions of 8-bit types as those of 32 bits, which have a register of their own."""

    def wide_create(
        cls: Any,
        device: Any,
        dst_dtype: torch.dtype,
        src_dtype: torch.dtype,
        inner_fn: Callable[..., Any],
        ranges: Any,
        reduction_ranges: Any,
        reduction_type: str,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        rest = (ranges, reduction_ranges, reduction_type, *args)
        if device.type != "cpu" or reduction_type not in _WIDENED.get(src_dtype, ()):
            return create(cls, device, dst_dtype, src_dtype, inner_fn, *rest, **kwargs)

        def wide(*index: Any) -> Any:
            value = inner_fn(*index)
            if isinstance(value, tuple):  # with its place, where that is not the loop's
                return (ops.to_dtype(value[0], torch.int32), *value[1:])
            return ops.to_dtype(value, torch.int32)

        same = dst_dtype is src_dtype
        result = create(
            cls, device, torch.int32 if same else dst_dtype, torch.int32, wide, *rest, **kwargs
        )
        if not same:
            return result
        if isinstance(result.data.data, ir.Reduction):
            result.realize()
        return to_dtype(result, dst_dtype)

    return wide_create
