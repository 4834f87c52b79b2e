"""The comparison with the eager model: which differences are accepted."""

from __future__ import annotations

import pytest
import torch

from aotbuild.config.schema import Verify
from aotbuild.errors import VerifyError
from aotbuild.steps.artifacts.reference import Case
from aotbuild.steps.verify.compare import Worst, compare, magnitude


def accepted(
    expected: torch.Tensor, change: torch.Tensor | float, verify: Verify | None = None
) -> bool:
    """Whether a result that is changed so is taken for the eager one."""
    case = Case("the example", {}, [expected], [""])
    try:
        compare(case, [expected], expected + change, verify or Verify(), "", Worst())
    except VerifyError:
        return False
    return True


SCORES = torch.tensor([0.5, -2.0, 1.5, 0.25, -1.0])


@pytest.mark.parametrize("mask", [-1e9, torch.finfo(torch.float32).min, float("-inf"), 1e12, -1e4])
def test_what_a_mask_writes_does_not_make_the_others_free(mask: float) -> None:
    expected = torch.cat([SCORES, torch.full((3,), mask)])
    change = torch.zeros(8)
    change[1] = 0.03
    assert not accepted(expected, change)
    change[1] = 1e-5
    assert accepted(expected, change)


@pytest.mark.parametrize("mask", [-1e9, torch.finfo(torch.float32).min])
def test_a_mask_may_stand_in_one_place(mask: float) -> None:
    assert magnitude(torch.cat([SCORES, torch.tensor([mask])])) == 2.0


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([1000.0, 0.001], 1000.0),  # both are computed
        ([6.0, 6.0, 5.0], 6.0),
        ([-1e9, -1e9], 1e9),
        ([-1e9, -1e9, 0.0], 1e9),
        ([float("nan"), float("inf")], 1.0),
        ([0.0, 0.0], 0.0),
        ([1e-30, -3e-30], 3e-30),
    ],
)
def test_the_scale_of_an_output_is_its_largest_magnitude(values: list[float], scale: float) -> None:
    assert magnitude(torch.tensor(values, dtype=torch.float64)) == scale


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_integers_are_the_same_to_the_last_digit(dtype: torch.dtype) -> None:
    largest = torch.tensor([torch.iinfo(dtype).max - 1, 3], dtype=dtype)
    assert accepted(largest, torch.zeros(2, dtype=dtype))
    assert not accepted(largest, torch.tensor([1, 0], dtype=dtype))
    assert accepted(largest, torch.tensor([1, 0], dtype=dtype), Verify(atol=1))


def test_booleans_are_the_same() -> None:
    expected = torch.tensor([True, False])
    case = Case("the example", {}, [expected], [""])
    with pytest.raises(VerifyError, match="differs"):
        compare(case, [expected], ~expected, Verify(), "", Worst())


def test_a_number_in_place_of_an_infinity_is_wrong() -> None:
    expected = torch.tensor([float("inf"), 1.0])
    case = Case("the example", {}, [expected], [""])
    for wrong in ([3e38, 1.0], [float("inf"), float("nan")], [float("-inf"), 1.0]):
        with pytest.raises(VerifyError, match="differs"):
            compare(case, [expected], torch.tensor(wrong), Verify(), "", Worst())
    compare(case, [expected], expected.clone(), Verify(), "", Worst())


def test_an_empty_output_is_compared_by_its_shape() -> None:
    case = Case("the example", {}, [torch.empty(0, 3)], [""])
    compare(case, [torch.empty(0, 3)], torch.empty(0, 3), Verify(), "", Worst())
    with pytest.raises(VerifyError, match="differs"):
        compare(case, [torch.empty(0, 3)], torch.empty(0, 4), Verify(), "", Worst())


def test_each_output_is_compared_by_its_own_scale() -> None:
    probability, logit = torch.tensor([0.4, 0.6]), torch.tensor([3000.0, -2000.0])
    case = Case("the example", {}, [probability, logit], ["[0]", "[1]"])
    worst = Worst()
    compare(case, case.leaves, (probability, logit + 0.01), Verify(), "", worst)
    assert worst.by_leaf[0] == 0
    assert worst.by_leaf[1] == pytest.approx(0.01, rel=0.1)
    with pytest.raises(VerifyError, match="differs"):
        compare(case, case.leaves, (probability + 0.01, logit), Verify(), "", worst)
