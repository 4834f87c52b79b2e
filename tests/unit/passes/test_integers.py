"""Integers as eager torch computes with them."""

from __future__ import annotations

from typing import Any

import pytest
import sympy
from torch._inductor import index_propagation
from torch._inductor.bounds import ValueRangeAnalysis
from torch._inductor.codegen import cpp
from torch.utils._sympy.value_ranges import ValueRanges
from torch_pin import TORCH

from aotbuild.passes.numerics.integers import exact_integers


def test_inductor_is_left_as_it_was() -> None:
    owners: list[Any] = [
        cpp.CppOverrides,
        cpp.CppVecOverrides,
        index_propagation.IndexPropagation,
        ValueRangeAnalysis,
    ]
    before = [dict(vars(owner)) for owner in owners]
    with exact_integers():
        changed = [dict(vars(owner)) for owner in owners]
        assert all(one != other for one, other in zip(before, changed, strict=True))
    assert [dict(vars(owner)) for owner in owners] == before


def test_truth_values_are_compared_without_bounds() -> None:
    analysis: Any = ValueRangeAnalysis()
    false, unknown = ValueRanges.wrap(sympy.false), ValueRanges.unknown_bool()
    if TORCH.release < (2, 14):  # where torch mended it
        with pytest.raises(TypeError):
            analysis.eq(false, unknown)
    with exact_integers():
        for compare in (analysis.eq, analysis.ne):
            assert compare(false, unknown) == unknown
        assert analysis.eq(ValueRanges.wrap(3), ValueRanges.wrap(3)).is_singleton()
