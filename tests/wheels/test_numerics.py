"""Compiled functions are exact: a sample of ``tests/audit``."""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from audit import errors
from compile_many import Case, cases, results, stock
from compiled import compiled
from operators import OPERATORS
from torch_pin import TORCH

from aotbuild.target import TARGETS, higher_targets

FUNCTIONS = ["expm1", "erf", "erfinv", "atanh", "acosh", "elu", "remainder 7", "softshrink"]
FUNCTIONS += ["div 3, floor"]
REDUCTIONS = ["amax, dim 1", "amin, dim 1", "argmax, dim 1", "argmin, dim 1", "max, all"]

USUAL = "cpu-x86-64-v3"
LEVELS = [USUAL, *(target.name for target in higher_targets())]


@functools.cache
def sample() -> list[Case]:
    found = []
    for names, dtypes in (
        (FUNCTIONS, [torch.float32]),
        (["erfinv"], [torch.float64]),
        (REDUCTIONS, [torch.int8, torch.uint8]),
        (["min indices, dim 0", "min indices, dim 1"], [torch.bool]),
    ):
        chosen = [each for each in OPERATORS if each.name in names]
        assert len(chosen) == len(names)
        for dtype in dtypes:
            found += cases(chosen, dtype)
    return found


@functools.cache
def wrong(level: str, *, exact: bool) -> dict[str, float]:
    """The largest errors of what is off by more than 4 units in the last place."""
    found = {}
    for case, result in zip(sample(), results(sample(), level, exact=exact), strict=True):
        compiled, eager = errors(case, result)
        if compiled > max(4, eager):
            found[f"{case.operator.name} of {case.dtype}, {case.label}"] = compiled
    return found


pytestmark = pytest.mark.skipif(USUAL not in TARGETS, reason="vectors of x86-64")


@pytest.mark.parametrize("level", LEVELS)
def test_compiled_functions_are_exact(level: str) -> None:
    assert wrong(level, exact=True) == {}


@pytest.mark.skipif(TORCH.release >= (2, 14), reason="tells of the oldest torch that is supported")
def test_stock_inductor_is_still_wrong() -> None:
    """What fails here is mended in torch, and its replacement may go."""
    found = wrong(USUAL, exact=False)
    names = {name.partition(" of ")[0] for name in found}
    places = {"min indices, dim 0", "min indices, dim 1"}
    assert {*FUNCTIONS, "amax, dim 1", "amin, dim 1", *places} <= names


class Integers(torch.nn.Module):
    """Integers that wrap, are truth values, negative, or beside unused parts of a register."""

    def forward(
        self, x: torch.Tensor, q: torch.Tensor, k: torch.Tensor, n: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        count = torch.arange(x.shape[1])
        small = torch.arange(x.shape[1], dtype=torch.uint8)
        return {
            "truth values of a range": x * count.bool(),
            "truth values of thirds": (count // 3).bool() + x,
            "narrowed range": x + (count * 9).to(torch.uint8),
            "wrapped range": x + small * 13,
            "wrapped int8": x + (small.to(torch.int8) * 7 - 100),
            "negative range": x + (-small),
            "remainder as in C": x + torch.fmod(count - 6, 3),
            "floor of a constant": x + count.float() // 0.1,
            "comparison of truth values": x + ((count > 3) != (count % 2 == 0)),
            "product": q.prod(1, dtype=torch.int8),
            "sum": (q + 1).sum(1, dtype=torch.int8),
            "sum of all": (q - 3).sum(dtype=torch.int8),
            "bytes": (q.to(torch.uint8) + 1).sum(1, dtype=torch.uint8).float(),
            "absolute value": q.abs().float(),
            "absolute value of shorts": (q.to(torch.int16) * 256).abs().int(),
            "largest absolute value": q.abs().amax(1),
            "quotient": torch.div(q, 1 - k.to(torch.int8), rounding_mode="trunc").float(),
            "remainder": n % (k - 1),
            "remainder of bytes": q % (k.to(torch.int8) - 1),
            "overflow": (n[0, :3] + 1) > n[0, :3],
            "overflow of one": n[0, 0] * 2 // 2,
            "negated": -n[1, :3] < 0,
            "absolute value of the smallest": n[1, :3].abs() < 0,
            "place in what is transposed": (x.t() + 0.5).argmin(),
            "place in what is permuted": (x.reshape(7, 1, 43).permute(2, 0, 1) * 2).argmax(),
            "place as a tensor": (x.t() - 0.5).argmax(keepdim=True),
            "place of a truth value": (q > 2).min(1).indices,
            "overflow of longs": (n.long()[0, :3] + (2**63 - 2**31 + 1)) > 0,
        }


def test_integers_are_those_of_eager(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randint(1, 4, (7, 43), generator=generator, dtype=torch.int8)
    q[1] = -128
    q[2] = torch.randint(-128, 128, (43,), generator=generator, dtype=torch.int8)
    k = torch.randint(2, 9, (7, 43), generator=generator, dtype=torch.int32)
    k[1] = 2
    n = torch.randint(-(2**31), 2**31, (7, 43), generator=generator).to(torch.int32)
    n[0], n[1] = 2**31 - 1, -(2**31)
    given = torch.randn(7, 43, generator=generator), q, k, n
    call, _ = compiled(Integers(), given, tmp_path, target=USUAL)
    expected = Integers()(*given)
    for (name, right), result in zip(expected.items(), call(*given), strict=True):
        assert result.dtype is right.dtype, name
        torch.testing.assert_close(result, right, rtol=1e-6, atol=1e-6, msg=name)


class Others(torch.nn.Module):
    """Nothing that is inexact by itself."""

    def forward(self, x: torch.Tensor, i: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.softmax(x.exp(), 1), x.sigmoid().sum(), i // 7, i.amax(1), i.float().argmax(1)


def test_programs_without_such_functions_stay_the_same_bytes(tmp_path: Path) -> None:
    libraries = []
    for name, context in (("mine", contextlib.nullcontext()), ("stock", stock())):
        directory = tmp_path / name
        directory.mkdir()
        given: Any = torch.randn(6, 50), torch.randint(-90, 90, (6, 50), dtype=torch.int32)
        with context:
            compiled(Others(), given, directory)
        made = {path.read_bytes() for path in directory.rglob("*.so")}
        libraries.append(made - {b""})  # the linker's output where the library is known by its code
    assert libraries[0] == libraries[1]
