"""Compare what a compiled model returns with what the eager one does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from aotbuild.config.schema import Verify
from aotbuild.errors import VerifyError, warn
from aotbuild.steps.artifacts.reference import Case, flatten_result

_TOLERANCES = {
    torch.float64: (1e-7, 1e-9),
    torch.float32: (1e-4, 2e-5),
    torch.float16: (2e-2, 5e-3),
    torch.bfloat16: (5e-2, 2e-2),
    torch.complex64: (1e-4, 2e-5),
    torch.complex128: (1e-7, 1e-9),
}
"""Relative and absolute tolerance by dtype; the absolute one is for outputs of magnitude one."""


@dataclass
class Worst:
    """The largest difference found so far."""

    error: float = 0.0
    relative: float = 0.0
    """The largest by the largest magnitude of the output that it is in."""
    case: str = ""
    leaf: str = ""
    by_leaf: dict[int, float] = field(default_factory=dict)
    """The largest of each leaf of the result, by its position."""


def compare(
    case: Case,
    expected_leaves: Sequence[Any],
    result: Any,
    verify: Verify | float,
    where: str,
    worst: Worst | None = None,
    changed: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Compare the result of one case.

    Args:
        case: The case.
        expected_leaves: The leaves of the eager result.
        result: What the compiled model returned.
        verify: The tolerances; the dtype's own where there are none. A number allows a difference
            of so much of the largest magnitude of each output.
        where: Where the model is declared.
        worst: The largest difference so far, which this one replaces if it is larger.
        changed: The inputs that the call changed, by their names.

    Raises:
        VerifyError: They differ.
    """
    worst = worst or Worst()
    leaves, paths = flatten_result(result, changed)
    if paths != case.paths:
        raise VerifyError(
            f"the compiled model returns another structure at {case.label}",
            where=where,
            why=f"compiled: {', '.join(paths)}\neager: {', '.join(case.paths)}",
        )
    rows = zip(paths, leaves, expected_leaves, strict=True)
    for position, (path, actual, expected) in enumerate(rows):
        leaf = path or "the output"
        if not isinstance(expected, torch.Tensor):
            if type(actual) is not type(expected) or actual != expected:
                raise _mismatch(case, leaf, where, f"compiled {actual!r}, eager {expected!r}")
            continue
        if not isinstance(actual, torch.Tensor) or actual.dtype != expected.dtype:
            kind = getattr(actual, "dtype", type(actual).__name__)
            raise _mismatch(case, leaf, where, f"compiled {kind}, eager {expected.dtype}")
        if actual.shape != expected.shape:
            shapes = f"compiled {tuple(actual.shape)}, eager {tuple(expected.shape)}"
            raise _mismatch(case, leaf, where, f"the shapes differ: {shapes}")
        values = actual.cpu(), expected.cpu()
        largest = _compare_values(case, leaf, *values, verify, where, worst)
        worst.by_leaf[position] = max(worst.by_leaf.get(position, 0.0), largest)


def _compare_values(
    case: Case,
    leaf: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    verify: Verify | float,
    where: str,
    worst: Worst,
) -> float:
    """Compare the values of a leaf; the largest difference."""
    if expected.numel() == 0:
        return 0.0
    rtol, atol = tolerance(expected, verify)
    wide = _wide(expected)
    exact = expected.to(wide)
    undefined = torch.isnan(expected)
    if undefined.sum() * 2 > undefined.numel():
        warn(
            f"most of {leaf} at {case.label} is not a number in the eager model",
            where=where,
            why=f"{int(undefined.sum())} of {undefined.numel()} elements are not compared",
            fix="example inputs are random; a mask that hides everything gives such results",
        )
    # Where eager has no number, as behind a mask that hides a whole row, none can be wrong.
    equal = undefined | (actual == expected)
    difference = torch.where(equal, 0.0, (actual.to(wide) - exact).abs())
    difference = torch.nan_to_num(difference, nan=float("inf"))
    allowed = atol + rtol * exact.abs().nan_to_num(nan=0.0, posinf=0.0)
    # Of large integers that differ, float64 may know no difference.
    wrong = ~equal & ((difference > allowed) | (allowed == 0))
    largest = float(difference.max())
    scale = magnitude(expected)
    worst.relative = max(worst.relative, _by(largest, scale))
    if largest >= worst.error:
        worst.error, worst.case, worst.leaf = largest, case.label, leaf
    if wrong.any():
        worst_wrong = torch.where(wrong, difference, -1.0).argmax()
        position = torch.unravel_index(worst_wrong, difference.shape)
        index = [int(i) for i in position]
        raise _mismatch(
            case,
            leaf,
            where,
            f"{int(wrong.sum())} of {wrong.numel()} elements differ; the largest difference is "
            f"{largest:.3g} at {index}: compiled {_shown(actual[tuple(index)])}, "
            f"eager {_shown(expected[tuple(index)])} (rtol {rtol:.3g}, atol {atol:.3g})",
        )
    return largest


def _shown(number: torch.Tensor) -> str:
    whole = not (number.is_floating_point() or number.is_complex())
    return str(int(number)) if whole else f"{number.item():.6g}"


def _wide(tensor: torch.Tensor) -> torch.dtype:
    """The dtype to compute differences in."""
    return torch.complex128 if tensor.is_complex() else torch.float64


def _by(difference: float, scale: float) -> float:
    """A difference by a magnitude, which may be zero."""
    if scale:
        return difference / scale
    return math.inf if difference else 0.0


_FAR = 1e3
"""How much larger than all others a number is that is none of them."""


def magnitude(expected: torch.Tensor) -> float:
    """The largest magnitude of the finite elements; one where there are none.

    What a mask has written, as -1e9 in place of scores, tells nothing of the others: a number far
    beyond them is left out.
    """
    finite = expected[torch.isfinite(expected)].to(_wide(expected)).abs()
    if not finite.numel():
        return 1.0
    largest = float(finite.max())
    others = finite[finite != largest]
    if not others.numel():
        return largest
    next_largest = float(others.max())
    # One alone may have been computed as they were.
    far = _FAR if finite.numel() - others.numel() > 1 else _FAR**2
    return next_largest if 0 < next_largest * far < largest else largest


def tolerances(dtype: torch.dtype) -> tuple[float, float]:
    """Relative and absolute tolerance for a dtype; the absolute one by the magnitude of one."""
    return _TOLERANCES.get(dtype, (0.0, 0.0))


def tolerance(expected: torch.Tensor, verify: Verify | float) -> tuple[float, float]:
    """Relative and absolute tolerance of an output; the absolute one follows its magnitude."""
    if not isinstance(verify, Verify):
        return 0.0, verify * magnitude(expected)
    rtol, atol = tolerances(expected.dtype)
    atol *= magnitude(expected)
    rtol = rtol if verify.rtol is None else verify.rtol
    return rtol, atol if verify.atol is None else verify.atol


def _mismatch(case: Case, leaf: str, where: str, why: str) -> VerifyError:
    return VerifyError(
        f"the compiled model differs from the eager model in {leaf} at {case.label}",
        where=where,
        why=why,
        fix="a model that draws random numbers cannot be verified; if the difference is "
        "acceptable, allow it with verify = { rtol = ..., atol = ... }",
    )
