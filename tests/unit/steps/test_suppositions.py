"""A size that a model derives may be 1: torch supposes that it is not, and that is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
from torch import nn
from torch.utils._sympy.functions import FloorDiv
from torch.utils._sympy.value_ranges import ValueRanges

from aotbuild.runtime.dims import Affine, Dim
from aotbuild.steps.sizes.proofs import proving
from aotbuild.steps.sizes.suppositions import _question, exceptions, fails_at, supposing
from aotbuild.steps.sizes.symbols import SizeSymbol


class Frames(nn.Module):
    """Frames of a signal, each by itself, then in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Conv1d(1, 6, 320, stride=160)
        self.inner = nn.Conv1d(6, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = self.frames(x[:, None])
        batch, channels, steps = frames.shape
        inner = self.inner(frames.transpose(1, 2).reshape(batch * steps, channels, 1))
        return inner.view(batch, steps, 4).flip(1)  # type: ignore[no-any-return]


class Whole(nn.Module):
    """What is left of a signal when it is cut into frames; it may be all of it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = x.shape[1] // 160
        return x[:, : frames * 160].reshape(x.shape[0], -1, 160).mean(-1)


class Asks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[1] // 160 == 1 else x


def traced(module: nn.Module) -> Any:
    batch = torch.export.Dim("batch", max=8)
    samples = torch.export.Dim("samples", min=160 if isinstance(module, Asks) else 320, max=16000)
    return torch.export.export(
        module, (torch.rand(4, 641),), dynamic_shapes=({0: batch, 1: samples},), strict=False
    )


def test_a_range_in_which_there_can_be_one_frame_is_traced() -> None:
    with proving(), pytest.raises(Exception, match="satisfy the generated guard"):
        traced(Frames())  # when torch takes it, supposing() can go
    with proving(), supposing(lambda _: True) as supposed:
        program = traced(Frames())
    assert supposed
    module = program.module(check_guards=False)
    for size in (320, 479, 480, 2000):
        value = torch.rand(3, size)
        parameters = dict(program.state_dict)
        expected = torch.func.functional_call(Frames(), parameters, (value,))
        torch.testing.assert_close(module(value), expected)


def test_a_part_of_a_size_may_be_all_of_it() -> None:
    with proving(), supposing(lambda _: True) as supposed:
        program = traced(Whole())
    (symbol,) = supposed[0].free_symbols
    assert sympy.Ne(symbol, 160 * FloorDiv(symbol, 160)) in supposed
    module = program.module(check_guards=False)
    for size in (320, 321, 479, 480, 640, 16000):
        value = torch.rand(3, size)
        torch.testing.assert_close(module(value), Whole()(value))


@pytest.mark.parametrize("asked", [
    lambda half: sympy.Ge(half, 2),
    lambda half: sympy.Le(2, half),
    lambda half: sympy.Gt(half, 1),
    lambda half: sympy.Lt(half, 2),
    lambda half: sympy.Gt(2, half),
    lambda half: sympy.Le(half, 1),
    lambda half: sympy.Ne(half, 1),
    lambda half: sympy.Eq(half, 1),
])  # fmt: skip
def test_all_ways_to_ask_whether_a_size_is_one_are_known(asked: Callable[[Any], Any]) -> None:
    symbol = sympy.Symbol("s27", integer=True, positive=True)
    half = FloorDiv(symbol, 2)
    question = _question(asked(half), {symbol: ValueRanges(2, 64)})
    assert question is not None
    assert question[0] in {sympy.Ne(half, 1), sympy.Ne(1, half)}
    assert question[1] is bool(asked(sympy.Integer(5)))


def test_what_the_model_itself_asks_is_not_supposed() -> None:
    with proving(), supposing(lambda _: True) as supposed, pytest.raises(Exception, match="guard"):
        traced(Asks())
    assert supposed == []


def test_what_is_not_allowed_is_not_supposed() -> None:
    with (
        proving(),
        supposing(lambda _: False) as supposed,
        pytest.raises(Exception, match="satisfy the generated guard"),
    ):
        traced(Frames())
    assert supposed == []


def test_the_smallest_and_the_largest_size_at_which_it_fails_are_told() -> None:
    symbol = sympy.Symbol("s27", integer=True, positive=True)
    symbols = {symbol: SizeSymbol(Affine("samples"))}
    differ = sympy.Ne(FloorDiv(symbol, 160) - 1, 1)
    dims = {"samples": Dim(320, 16000), "batch": Dim(1, 4)}
    example = {"samples": 641, "batch": 2}
    found = exceptions([differ], symbols, dims, example)
    assert found == [{"samples": 320, "batch": 2}, {"samples": 479, "batch": 2}]
    assert fails_at(differ, symbols, found[0])
    assert not fails_at(differ, symbols, example)
    assert exceptions([sympy.Ne(symbol, 1)], symbols, dims, example) == []
