"""Calls that cover what a declaration allows: which inputs they change, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from aotbuild.runtime.manifest import Input
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.reference import Case
from aotbuild.steps.artifacts.samples import Leaf, Samples
from aotbuild.steps.export.input_uses import Uses, input_uses
from aotbuild.steps.export.wide_cases import wide_cases, wide_leaf

CPU = torch.device("cpu")
LONGS = torch.zeros(3, 4, dtype=torch.int64)
BYTES = torch.zeros(3, 4, dtype=torch.uint8)
FLOATS = torch.zeros(3, 4)


class Called(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.function(*tensors)


def exported(function: Any, *tensors: torch.Tensor) -> torch.export.ExportedProgram:
    return torch.export.export(Called(function), tensors, strict=False)


TABLE = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
FREE = Uses()
FIXED = Uses(fixed=True)
USES: list[tuple[Any, list[torch.Tensor], list[Uses]]] = [
    (lambda q: q.amax(1), [BYTES], [FREE]),
    (lambda q: (q + 1).view(-1)[1:].clone().relu(), [LONGS], [FREE]),
    (lambda i: F.embedding(i, TABLE).sum(1), [LONGS], [FIXED]),
    (lambda i: TABLE[i + 1], [LONGS], [FIXED]),
    (lambda x, i: x.gather(1, i % 2), [FLOATS, LONGS], [FREE, Uses(fixed=True)]),
    (lambda x, i: x.index_add(0, i[:, 0], x), [FLOATS, LONGS], [Uses(local=False), FIXED]),
    (lambda a, b: a // b, [LONGS, LONGS + 1], [Uses(fixed=True), Uses(fixed=True)]),
    (lambda a: a // 3, [LONGS], [FREE]),
    (lambda a, b: a << b, [LONGS, LONGS + 1], [Uses(fixed=True), Uses(fixed=True)]),
    (lambda a: a.float() / 255, [BYTES], [Uses(converted=True)]),
    (lambda x: x.to(torch.int32), [FLOATS], [Uses(converted=True)]),
    (lambda x, m: x.masked_fill(m > 0, -math.inf).softmax(-1), [FLOATS, LONGS],
     [Uses(local=False), Uses(local=False)]),
    (lambda x: F.elu(x) * 2, [FLOATS], [FREE]),
    (lambda x: x.sum(1), [FLOATS], [Uses(local=False)]),
    (lambda x, y: (x.shape[0] + torch.zeros_like(y), x), [FLOATS, FLOATS], [FREE, FREE]),
]  # fmt: skip


@pytest.mark.parametrize(("function", "tensors", "expected"), USES)
def test_a_graph_tells_what_becomes_of_values(
    function: Any, tensors: list[torch.Tensor], expected: list[Uses]
) -> None:
    assert input_uses(exported(function, *tensors)) == expected


def test_what_is_written_into_a_view_reaches_its_base() -> None:
    def written(x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
        places = torch.zeros(4, dtype=torch.int64)
        places[:3].copy_(i[:, 0])
        return x[:, places]

    assert [uses.fixed for uses in input_uses(exported(written, FLOATS, LONGS))] == [False, True]


def test_the_result_of_an_operator_of_the_project_tells_nothing() -> None:
    with torch.library._scoped_library("wide_cases", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
        (uses,) = input_uses(exported(torch.ops.wide_cases.twice, LONGS))
    assert uses.fixed


LEAVES: list[tuple[Leaf, Uses, str, tuple[Any, ...] | None]] = [
    (Leaf("int8"), FREE, "negative", ("extremes", -128, -64)),
    (Leaf("int8"), FREE, "positive", ("extremes", 64, 127)),
    (Leaf("int8"), FREE, "range", ("extremes", -128, 127)),
    (Leaf("uint8"), FREE, "negative", None),
    (Leaf("uint8"), FREE, "positive", ("extremes", 128, 255)),
    (Leaf("int64"), FREE, "range", ("extremes", -(2**63), 2**63 - 2)),
    (Leaf("int64"), Uses(converted=True), "range", ("extremes", -1000, 1000)),
    (Leaf("int64"), FIXED, "range", None),
    (Leaf("int64", min=-5, max=9), FREE, "range", ("extremes", -5, 9)),
    (Leaf("int64", max=9), FREE, "range", ("extremes", 0, 9)),
    (Leaf("int64", max=9), FREE, "negative", None),
    (Leaf("bool"), FREE, "range", None),
    (Leaf("float32", torch.zeros(2)), FREE, "range", None),
    (Leaf("float32"), FREE, "tiny", ("tiny", None, None)),
    (Leaf("float32"), FREE, "range", ("special", None, None)),
    (Leaf("float32"), Uses(local=False), "range", ("large", None, None)),
    (Leaf("float32"), Uses(converted=True), "range", None),
    (Leaf("float32", min=0.5), FREE, "tiny", None),
    (Leaf("float32", min=0.0, max=1.0), FREE, "negative", None),
    (Leaf("float32", min=0.0, max=1.0), FREE, "range", ("extremes", 0.0, 1.0)),
    (Leaf("float32", max=-5.0), FREE, "positive", None),
    (Leaf("bfloat16"), FREE, "tiny", None),
    (Leaf("complex64"), FREE, "tiny", None),
]


@pytest.mark.parametrize(("leaf", "uses", "kind", "expected"), LEAVES)
def test_what_is_declared_bounds_the_values(
    leaf: Leaf, uses: Uses, kind: str, expected: tuple[Any, ...] | None
) -> None:
    wide = wide_leaf(leaf, uses, kind)
    assert (wide and (wide.values, wide.min, wide.max)) == expected
    if wide is None:
        return
    drawn = wide.sample([64, 64], torch.Generator().manual_seed(0))
    assert str(drawn.dtype) == f"torch.{leaf.dtype}"
    if wide.min is not None and wide.max is not None:
        low, high = int(wide.min), int(wide.max)
        assert low <= int(drawn.min())
        assert int(drawn.max()) <= high
        if wide.values == "extremes":
            assert (int(drawn.min()), int(drawn.max())) == (low, high)


def test_special_values_are_all_there() -> None:
    drawn = Leaf("float32", values="special").sample([64, 64], torch.Generator().manual_seed(0))
    for kind in (drawn.isnan(), drawn == math.inf, drawn == -math.inf, drawn == 0):
        assert kind.any()
    assert ((drawn == 0) & drawn.signbit()).any()
    assert ((drawn.abs() > 0) & (drawn.abs() < torch.finfo(torch.float32).tiny)).any()
    assert drawn[drawn.isfinite()].abs().max() == torch.finfo(torch.float32).max


def cases(function: Any, *tensors: torch.Tensor, seconds: float = 0.0) -> list[Case]:
    inputs = [
        Input(f"x{i}", str(t.dtype).removeprefix("torch."), list(t.shape), [0, 1])
        for i, t in enumerate(tensors)
    ]
    call = CallSpec(inputs, {}, {}, {}, [], {}, [])
    samples = Samples([Leaf(spec.dtype) for spec in inputs])

    def eager(given: Sequence[torch.Tensor]) -> Any:
        return function(*given)

    return wide_cases(exported(function, *tensors), call, samples, eager, CPU, seconds)


def test_each_kind_is_a_case() -> None:
    found = cases(lambda q: q.amax(1), BYTES)
    assert [case.label for case in found] == [
        "inputs that are all positive",
        "inputs over their whole range",
    ]
    assert all(int(case.leaves[0].min()) >= 128 for case in found[:1])


def test_indices_alone_make_no_case() -> None:
    assert cases(lambda i: F.embedding(i, TABLE), LONGS) == []


def test_what_eager_refuses_stays_as_in_the_example() -> None:
    def small(x: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting() and int(q.max()) > 1:
            raise ValueError("not such values")
        return x + q

    found = cases(small, FLOATS, BYTES)
    assert len(found) == 4  # of the floating-point input alone
    assert all(case.wide is not None and set(case.wide) == {0} for case in found)


def test_a_slow_model_is_not_called_again() -> None:
    assert cases(lambda q: q.amax(1), BYTES, seconds=2.0) == []
