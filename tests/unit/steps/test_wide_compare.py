"""Comparing with values all over what is declared: errors are told, rounding is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from aotbuild.config.schema import Verify
from aotbuild.errors import VerifyError
from aotbuild.steps.artifacts.reference import Case, flatten_result
from aotbuild.steps.verify.wide import Noise, WideCall, check_wide

Function = Callable[[torch.Tensor], Any]


def check(
    eager: Function,
    compiled: Function,
    x: torch.Tensor,
    *,
    elementwise: bool = False,
    declared: Verify | None = None,
) -> None:
    def noisy(tensors: Sequence[torch.Tensor], seed: int) -> list[Any]:
        with (noise := Noise(seed)):
            return flatten_result(eager(*[noise.changed(tensor) for tensor in tensors]))[0]

    leaves, paths = flatten_result(eager(x))
    case = Case("a case", {}, leaves, paths, wide={}, elementwise=elementwise)
    call = WideCall(case, [x], compiled(x))
    check_wide(call, declared or Verify(), "here", noisy, lambda _: "aten.x at net.py:1")


def drawn(scale: float, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale


def lossy_expm1(x: torch.Tensor) -> torch.Tensor:
    return x.exp() - 1


def test_lost_digits_of_small_numbers_are_told() -> None:
    with pytest.raises(VerifyError) as caught:
        check(torch.expm1, lossy_expm1, drawn(1e-7, 8, 8), elementwise=True)
    assert "differs from the eager model in the output at a case" in caught.value.what
    assert caught.value.where == "here\naten.x at net.py:1"
    assert "of 64 elements differ" in caught.value.why
    assert "min and max" in caught.value.fix


def test_a_small_element_beside_large_ones_is_compared_by_itself() -> None:
    x = torch.cat([drawn(1e-7, 8), drawn(1e7, 8).abs().log()])
    with pytest.raises(VerifyError):
        check(torch.expm1, lossy_expm1, x, elementwise=True)
    check(torch.expm1, lossy_expm1, x)


def test_garbage_in_a_whole_number_is_told() -> None:
    q = torch.randint(-128, -63, (4, 40), dtype=torch.int8)
    with pytest.raises(VerifyError, match="the output"):
        check(lambda q: q.amax(1), lambda q: q.amax(1).clamp(min=1), q)


def test_another_order_of_a_sum_is_no_error() -> None:
    x = drawn(1e4, 64, 512)
    check(lambda x: x.sum(1), lambda x: x.flip(1).view(64, 2, 256).sum(2).sum(1), x)
    check(lambda x: (x - x.mean()).sum(), lambda x: (x - x.flip(0).mean()).flip(1).sum(), x)


def test_what_rounding_decides_is_no_error() -> None:
    x = drawn(1e4, 16, 32)
    weight = drawn(1.0, 32, 32)

    def scores(x: torch.Tensor) -> torch.Tensor:
        return ((x @ weight) @ (x @ weight).mT).softmax(-1).argmax(-1)

    check(scores, lambda x: scores(x.double().float()), x)


def test_rounding_that_flips_a_truth_value_is_no_error() -> None:
    x = torch.full((8,), 0.1)
    check(lambda x: x * 3 > 0.3, lambda x: x * 3 >= 0.30000004, x)


@pytest.mark.parametrize("lost", [0.0, math.nan, math.inf])
def test_one_wrong_element_is_told(lost: float) -> None:
    def wrong(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y[3] = lost
        return y

    with pytest.raises(VerifyError, match="the output"):
        check(lambda x: x * 2, wrong, drawn(1.0, 16), elementwise=True)


def test_where_eager_has_no_number_none_is_wrong() -> None:
    check(lambda x: x.log(), lambda x: x.abs().log(), drawn(1.0, 64), elementwise=True)


def test_what_the_project_tolerates_is_tolerated() -> None:
    x = drawn(1.0, 64)
    with pytest.raises(VerifyError):
        check(lambda x: x, lambda x: x + 0.01, x)
    check(lambda x: x, lambda x: x + 0.01, x, declared=Verify(atol=0.02))


def test_another_dtype_is_told() -> None:
    with pytest.raises(VerifyError) as caught:
        check(lambda x: x, lambda x: x.double(), drawn(1.0, 4))
    assert "compiled torch.float64, eager torch.float32" in caught.value.why
