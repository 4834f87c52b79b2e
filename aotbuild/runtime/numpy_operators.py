"""Operators of torch in numpy, by which constants follow from parameters.

These are all that the passes of the build write into recipes, and what models usually do to their
weights. Those that move elements or round a single result do as torch does, bit for bit; sums
are rounded in another order than torch's.

Nothing is copied that need not be: what they give may be over the memory of what they take.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .lazy import np
from .numpy_dtypes import dtype_named

_END = 2**63 - 1
"""How torch writes an end of a slice that is left out."""


# ---- Elements in other places


def _same(x: Any, *rest: Any, **options: Any) -> Any:
    """What gives the same values in other memory."""
    del rest, options
    return x


def _cat(arrays: Sequence[Any], dim: int = 0) -> Any:
    return np.concatenate(arrays, dim)


def _stack(arrays: Sequence[Any], dim: int = 0) -> Any:
    return np.stack(arrays, dim)


def _pad(x: Any, pad: Sequence[int], value: float = 0) -> Any:
    """With elements before and after each dimension, the last one first; negative counts cut."""
    sides = [(0, 0)] * x.ndim
    for i in range(len(pad) // 2):
        sides[-1 - i] = pad[2 * i], pad[2 * i + 1]
    kept = tuple(
        slice(max(0, -before), size + min(0, after))
        for size, (before, after) in zip(x.shape, sides, strict=True)
    )
    added = [(max(0, before), max(0, after)) for before, after in sides]
    return np.pad(x[kept], added, constant_values=value)


def _reshape(x: Any, shape: Sequence[int]) -> Any:
    return x.reshape(tuple(shape))


def _flatten(x: Any, start: int = 0, end: int = -1) -> Any:
    if x.ndim == 0:
        return x.reshape(1)
    start, end = start % x.ndim, end % x.ndim + 1
    return x.reshape((*x.shape[:start], math.prod(x.shape[start:end]), *x.shape[end:]))


def _permute(x: Any, dims: Sequence[int]) -> Any:
    return x.transpose(tuple(dims))


def _slice(
    x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    index = [slice(None)] * x.ndim
    index[dim] = slice(start, None if end == _END else end, step)
    return x[tuple(index)]


def _select(x: Any, dim: int, place: int) -> Any:
    return np.take(x, place, dim)


def _squeeze(x: Any, dim: int) -> Any:
    return x.squeeze(dim) if x.shape[dim] == 1 else x


def _transpose(x: Any, one: int, other: int) -> Any:
    return x.swapaxes(one, other)


def _unsqueeze(x: Any, dim: int) -> Any:
    return np.expand_dims(x, dim)


def _t(x: Any) -> Any:
    return x.T


def _to(x: Any, dtype: str, *rest: Any, **options: Any) -> Any:
    del rest, options
    return x.astype(dtype_named(dtype), copy=False)


# ---- Computed


def _like(x: Any, number: Any) -> Any:
    """An operand, a number in the type of the other one."""
    plain = isinstance(number, int | float) and not isinstance(number, bool)
    return np.asarray(number, x.dtype) if plain else number


def _add(x: Any, other: Any, alpha: float = 1) -> Any:
    other = _like(x, other)
    return x + (other if alpha == 1 else _like(x, alpha) * other)


def _sub(x: Any, other: Any, alpha: float = 1) -> Any:
    other = _like(x, other)
    return x - (other if alpha == 1 else _like(x, alpha) * other)


def _mul(x: Any, other: Any) -> Any:
    return x * _like(x, other)


def _div(x: Any, other: Any) -> Any:
    return x / _like(x, other)


def _neg(x: Any) -> Any:
    return -x


def _exp(x: Any) -> Any:
    return np.exp(x)


def _sqrt(x: Any) -> Any:
    return np.sqrt(x)


def _reciprocal(x: Any) -> Any:
    return _like(x, 1) / x


def _rsqrt(x: Any) -> Any:
    return _like(x, 1) / np.sqrt(x)


def _sum(x: Any, dims: Sequence[int] | None = None, keep: bool = False) -> Any:  # noqa: FBT001, FBT002
    return x.sum(tuple(dims) if dims else None, keepdims=keep)


def _weight_norm(direction: Any, length: Any, dim: int = 0) -> Any:
    """A weight of a direction and the lengths of its slices along a dimension; -1: of all of it."""
    others = tuple(i for i in range(direction.ndim) if dim == -1 or i != dim)
    squares = np.square(direction, dtype=np.float64).sum(others, keepdims=True)
    return direction * (length / np.sqrt(squares).astype(direction.dtype))


def _product(one: Any, other: Any) -> Any:
    return np.asarray(one @ other)


OPERATORS: dict[str, Callable[..., Any]] = {
    "aten._weight_norm.default": _weight_norm,
    "aten.add.Scalar": _add,
    "aten.add.Tensor": _add,
    "aten.cat.default": _cat,
    "aten.clone.default": _same,
    "aten.constant_pad_nd.default": _pad,
    "aten.contiguous.default": _same,
    "aten.detach.default": _same,
    "aten.div.Tensor": _div,
    "aten.dot.default": _product,
    "aten.exp.default": _exp,
    "aten.flatten.using_ints": _flatten,
    "aten.matmul.default": _product,
    "aten.mm.default": _product,
    "aten.mul.Scalar": _mul,
    "aten.mul.Tensor": _mul,
    "aten.mv.default": _product,
    "aten.neg.default": _neg,
    "aten.numpy_T.default": _t,
    "aten.permute.default": _permute,
    "aten.reciprocal.default": _reciprocal,
    "aten.reshape.default": _reshape,
    "aten.rsqrt.default": _rsqrt,
    "aten.select.int": _select,
    "aten.slice.Tensor": _slice,
    "aten.sqrt.default": _sqrt,
    "aten.squeeze.dim": _squeeze,
    "aten.stack.default": _stack,
    "aten.sub.Tensor": _sub,
    "aten.sum.dim_IntList": _sum,
    "aten.t.default": _t,
    "aten.to.dtype": _to,
    "aten.transpose.int": _transpose,
    "aten.unsqueeze.default": _unsqueeze,
    "aten.vdot.default": _product,
    "aten.view.default": _reshape,
}
"""By the names that recipes have for them."""
