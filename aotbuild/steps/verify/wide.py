"""Compare the calls that cover what a declaration allows, where rounding may matter much.

With tiny, huge or special values, two ways of computing the same can differ by more than any
tolerance without either being wrong. Where they do, the traced program is run several times with
each of its intermediate results changed in the last digits: what that changes is not compared
(stochastic arithmetic: J. Vignes, "A stochastic arithmetic for reliable scientific computation",
Mathematics and Computers in Simulation 35, 1993). What is left is an error of the compiled code,
and is looked for operator by operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from aotbuild.config.schema import Verify
from aotbuild.errors import VerifyError
from aotbuild.steps.artifacts.reference import Case, flatten_result
from aotbuild.steps.verify.compare import compare, magnitude, tolerances

_NOISE = 2.0**-20
"""By how much results are changed: some times the rounding of float32."""

_RUNS = 6
_MARGIN = 4.0
"""How many times the change that noise makes is accepted."""

_ILL = 0.02
"""The part of an output that noise may change noticeably; of others nothing is compared."""


@dataclass(frozen=True)
class WideCall:
    """A call that covers more than the example, and what it gave."""

    case: Case
    tensors: Sequence[torch.Tensor]
    result: Any


@dataclass(frozen=True)
class Difference:
    """The largest difference in an output."""

    leaf: str
    text: str


def check_wide(
    wide: WideCall,
    declared: Verify,
    where: str,
    noisy: Callable[[Sequence[torch.Tensor], int], Sequence[Any]],
    locate: Callable[[Sequence[torch.Tensor]], str],
) -> None:
    """Compare the result of a call with values all over what the declaration allows.

    Args:
        wide: The call.
        declared: The tolerances of the project, which go over those here where they allow more.
        where: Where the model is declared.
        noisy: The leaves of the eager result for these arguments, with noise of this seed.
        locate: The operator that differs for these arguments, and its line; empty if none does by
            itself.

    Raises:
        VerifyError: It differs by more than rounding can make it.
    """
    case = wide.case
    leaves, paths = flatten_result(wide.result)
    same = paths == case.paths and all(
        _alike(actual, expected) for actual, expected in zip(leaves, case.leaves, strict=True)
    )
    if not same:  # in more than values
        compare(case, case.leaves, wide.result, declared, where)
        return
    doubts: list[Any] = [None] * len(leaves)
    if not _differences(case, leaves, doubts, declared):
        return
    runs = [list(noisy(wide.tensors, seed)) for seed in range(_RUNS)]
    doubts = [_doubt(expected, [run[i] for run in runs]) for i, expected in enumerate(case.leaves)]
    found = _differences(case, leaves, doubts, declared)
    if not found:
        return
    place = locate(wide.tensors)
    raise VerifyError(
        f"the compiled model differs from the eager model in {found[0].leaf} at {case.label}",
        where=where + (f"\n{place}" if place else ""),
        why=found[0].text
        + ("" if place else "\nno operator differs by itself, only what they were made into"),
        fix="if such values do not come, declare which do, with min and max of the input; else "
        "write it with another operator, and report it to the aotbuild project",
    )


def _alike(actual: Any, expected: Any) -> bool:
    if not isinstance(expected, torch.Tensor):
        return bool(actual == expected)
    return (
        isinstance(actual, torch.Tensor)
        and actual.shape == expected.shape
        and actual.dtype == expected.dtype
    )


def _differences(
    case: Case, leaves: Sequence[Any], doubts: Sequence[Any], declared: Verify
) -> list[Difference]:
    """Where a result differs by more than the tolerances and what is doubtful."""
    found = []
    for got, want, path, doubt in zip(leaves, case.leaves, case.paths, doubts, strict=True):
        if not isinstance(want, torch.Tensor) or not want.numel():
            continue
        actual, expected = got.cpu(), want.cpu()
        wrong, difference = exceeding(
            actual, expected, doubt, declared, elementwise=case.elementwise
        )
        if wrong.any():
            largest = torch.where(wrong, difference, -1.0).argmax()
            index = tuple(int(i) for i in torch.unravel_index(largest, difference.shape))
            found.append(
                Difference(
                    path or "the output",
                    f"{int(wrong.sum())} of {wrong.numel()} elements differ, as that at "
                    f"{list(index)}: compiled {actual[index].item():.6g}, "
                    f"eager {expected[index].item():.6g}",
                )
            )
    return found


def exceeding(
    actual: torch.Tensor,
    expected: torch.Tensor,
    doubt: torch.Tensor | None,
    declared: Verify,
    *,
    elementwise: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which elements differ by more than is allowed, and the differences.

    Args:
        actual: The compiled result.
        expected: The eager one. Where it has no number, none can be wrong.
        doubt: By how much each element changes with the last digits of what it is computed from;
            infinite where it is not compared.
        declared: The tolerances of the project.
        elementwise: Whether elements that are small beside others of the output are accurate too.
    """
    kind = torch.complex128 if expected.is_complex() else torch.float64
    exact, integers = expected.to(kind), not (expected.is_floating_point() or expected.is_complex())
    rtol, atol = tolerances(expected.dtype)
    if elementwise and not integers:
        # Below the smallest normal number, digits are lost one by one, by eager's functions too.
        atol = torch.finfo(expected.dtype).tiny
    else:
        atol *= magnitude(expected)
    rtol, atol = max(rtol, declared.rtol or 0.0), max(atol, declared.atol or 0.0)
    allowed = atol + rtol * exact.abs().nan_to_num(nan=0.0, posinf=0.0)
    if doubt is not None:
        ill = (~doubt.isfinite() | (doubt > allowed)).double().mean()
        if ill > _ILL and not elementwise:
            doubt = torch.full_like(doubt, torch.inf)
        allowed = allowed + _MARGIN * doubt
    equal = torch.isnan(expected) | (actual == expected)
    difference = torch.where(equal, 0.0, (actual.to(kind) - exact).abs())
    difference = difference.nan_to_num(nan=torch.inf, posinf=torch.inf)
    return (difference > allowed) & ~torch.isinf(allowed), difference


def _doubt(expected: Any, others: Sequence[Any]) -> torch.Tensor | None:
    """By how much each element changes with noise; infinite where it becomes no number."""
    if not isinstance(expected, torch.Tensor):
        return None
    kind = torch.complex128 if expected.is_complex() else torch.float64
    doubt = torch.zeros(expected.shape, dtype=torch.float64)
    for other in others:
        if not isinstance(other, torch.Tensor) or other.shape != expected.shape:
            return torch.full_like(doubt, torch.inf)
        same = other.cpu() == expected.cpu()
        change = torch.where(same, 0.0, (other.cpu().to(kind) - expected.cpu().to(kind)).abs())
        doubt = torch.maximum(doubt, change.nan_to_num(nan=torch.inf, posinf=torch.inf))
    # Where a whole number or a truth value changes, any may be right.
    exact = not (expected.is_floating_point() or expected.is_complex())
    return torch.where(doubt > 0, torch.inf, 0.0) if exact else doubt


class Noise(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """Changes the last digits of whatever operators compute from floating-point numbers."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call an operator."""
        del types
        result = func(*args, **(kwargs or {}))
        schema = func._schema  # noqa: SLF001
        if any(each.alias_info is not None for each in schema.returns) or not any(
            _is_real(each) for each in pytree.tree_leaves((args, kwargs))
        ):
            return result
        return pytree.tree_map_only(torch.Tensor, self.changed, result)

    def changed(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor with other last digits."""
        if not _is_real(tensor):
            return tensor
        noise = torch.rand(tensor.shape, generator=self._generator, dtype=torch.float64)
        factor = 1 + (noise * 2 - 1).to(tensor.device) * _NOISE
        wide = torch.complex128 if tensor.is_complex() else torch.float64
        other = (tensor.to(wide) * factor).to(tensor.dtype)
        return torch.empty_like(tensor).copy_(other)


def _is_real(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())
