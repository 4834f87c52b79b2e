"""What a trace asks about sizes is decided where it has one answer for all of their ranges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sympy
import torch
from torch import nn
from torch.utils._sympy.functions import FloorDiv, Mod
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from aotbuild.steps.sizes.proofs import decided, proving

H, W, B, C = sympy.symbols("h w b c", integer=True, positive=True)


def sizes(**ends: tuple[int, int | None]) -> dict[Any, Any]:
    return {
        sympy.Symbol(name, integer=True, positive=True): ValueRanges(
            low, int_oo if high is None else high
        )
        for name, (low, high) in ends.items()
    }


ALWAYS = [
    # Pooling that rounds up: the last window begins inside.
    (2 * FloorDiv(H - 3, 2) < H - 2, sizes(h=(5, None))),
    (2 * FloorDiv(H - 3, 2) < H - 2, sizes(h=(5, 1 << 40))),
    (2 * FloorDiv(FloorDiv(H - 3, 2) - 3, 2) < FloorDiv(H - 3, 2) - 2, sizes(h=(12, None))),
    (3 * FloorDiv(H + W, 3) <= H + W, sizes(h=(2, None), w=(2, None))),
    # Layouts: a smaller number is no multiple of a larger one.
    (sympy.Ne(Mod(1, FloorDiv(H, 160)), 0), sizes(h=(1024, None))),
    (sympy.Ne(Mod(B, B * C), 0), sizes(b=(2, None), c=(2, None))),
    (6 * B * (FloorDiv(H, 160) - 1) >= 2, sizes(b=(2, 8), h=(320, 16000))),
    # Neither bounds nor divisions tell, trying each size does.
    (sympy.Ne(Mod(H * H, 7), 3), sizes(h=(2, 4000))),
    (sympy.Ne(B * C, 23), sizes(b=(2, 16), c=(2, 16))),
]


@pytest.mark.parametrize(("condition", "ranges"), ALWAYS)
def test_a_condition_that_always_holds_is_proved(condition: Any, ranges: dict[Any, Any]) -> None:
    assert decided(condition, ranges) is True
    assert decided(sympy.Not(condition), ranges) is False


SOMETIMES = [
    (H < 100, sizes(h=(2, None))),
    (H < 100, sizes(h=(2, 100))),
    (sympy.Eq(B * C, 20), sizes(b=(2, 16), c=(2, 16))),
    (sympy.Ne(Mod(1, FloorDiv(H, 160)), 0), sizes(h=(160, 4000))),
    (sympy.Ne(Mod(B, B * C), 0), sizes(b=(2, 16), c=(1, 16))),
    (2 * FloorDiv(H - 3, 2) < H - 3, sizes(h=(5, None))),
    (sympy.Ne(H, 3999), sizes(h=(2, 4000))),
    (sympy.Ne(Mod(H, 1 << 20), 5), sizes(h=(2, None))),
]


@pytest.mark.parametrize(("condition", "ranges"), SOMETIMES)
def test_a_condition_that_depends_on_sizes_is_not(condition: Any, ranges: dict[Any, Any]) -> None:
    assert decided(condition, ranges) is None


def test_nothing_is_said_of_unknown_symbols_and_of_numbers() -> None:
    assert decided(H < 3, {}) is None
    assert decided(H, sizes(h=(2, 3))) is None


@pytest.mark.parametrize("seed", range(40))
def test_what_is_decided_holds_for_every_size(seed: int) -> None:
    random = __import__("random").Random(seed)
    k, d, a, b = (random.randint(1, 6) for _ in range(4))
    low = random.randint(2, 9)
    kinds: list[Callable[[Any, Any], Any]] = [sympy.Lt, sympy.Le, sympy.Eq, sympy.Ne]
    condition = random.choice(kinds)(k * FloorDiv(H - a, d) + Mod(H, k + 1), H + b - low)
    if condition in {sympy.true, sympy.false}:
        return
    answer = decided(condition, sizes(h=(low, None)))
    seen = {bool(condition.subs(H, size)) for size in range(low, low + 200)}
    assert answer is None or seen == {answer}, condition


class Pools(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool2d(x[..., 2:, :], 3, 2, ceil_mode=True)


def test_torch_refuses_a_range_in_which_its_guard_always_holds() -> None:
    height = torch.export.Dim("height", min=8, max=64)

    def traced() -> torch.export.ExportedProgram:
        return torch.export.export(
            Pools(), (torch.zeros(1, 1, 11, 9),), dynamic_shapes=({2: height},), strict=False
        )

    with pytest.raises(Exception, match="satisfy the generated guard"):
        traced()  # when torch proves it, proving() can go
    with proving():
        (found,) = traced().range_constraints.values()
    assert (found.lower, found.upper) == (8, 64)
