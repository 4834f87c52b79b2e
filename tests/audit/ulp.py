"""Errors in units in the last place."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Error:
    """The largest error of a result."""

    ulp: float
    """In units in the last place of the exact result; infinite where one is finite or a number and
    the other is not."""
    index: int
    """Of the element, where the tensors are flat."""


def largest(
    result: torch.Tensor,
    exact: torch.Tensor,
    scale: torch.Tensor | None = None,
    rest: torch.Tensor | None = None,
) -> Error:
    """The largest error of a result.

    Args:
        result: Of any type.
        exact: The values that it should have: of float64 for those of floats, else of the type
            of the result.
        scale: What an error is measured by in place of the exact result, such as the sum of the
            magnitudes of terms.
        rest: What ``exact`` lacks, where it is rounded.
    """
    if not result.dtype.is_floating_point:
        wrong = (result != exact.to(result.dtype)).flatten()
        index = int(wrong.to(torch.uint8).argmax()) if wrong.numel() else 0
        return Error(float("inf") if wrong.any() else 0.0, index)
    info = torch.finfo(result.dtype)
    limit = 2.0 ** _top(result.dtype)
    got, exact = result.double().flatten(), exact.double().flatten()
    if result.dtype is not torch.float64:
        # What would be rounded to infinity is one unit beyond the largest number.
        got = torch.where(got.isinf(), limit * got.sign(), got)
        exact = torch.where(exact.abs() > limit, limit * exact.sign(), exact)
    size = exact.abs() if scale is None else scale.double().flatten()
    least = info.smallest_normal * info.eps
    unit = (
        torch.exp2(torch.floor(torch.log2(size.clamp(info.smallest_normal, info.max)))) * info.eps
    )
    unit = unit.clamp(min=least)
    distance = got - exact
    if rest is not None:
        distance = distance - rest.flatten()
    error = distance.abs() / unit
    same = ((got == exact) & exact.isinf()) | (got.isnan() & exact.isnan())
    error = torch.where(same, 0.0, torch.where(error.isnan(), float("inf"), error))
    if not error.numel():
        return Error(0.0, 0)
    index = int(error.argmax())
    return Error(float(error[index]), index)


def _top(dtype: torch.dtype) -> int:
    return {torch.float16: 16}.get(dtype, 128 if dtype is not torch.float64 else 1023)
