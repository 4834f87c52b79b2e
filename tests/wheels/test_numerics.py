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
        (REDUCTIONS, [torch.int8, torch.uint8]),
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


def test_stock_inductor_is_still_wrong() -> None:
    """What fails here is mended in torch, and its replacement may go where that torch is needed."""
    found = wrong(USUAL, exact=False)
    names = {name.partition(" of ")[0] for name in found}
    mended = set()
    if torch.__version__ >= "2.15":
        mended = {"expm1", "elu"}
    assert {*FUNCTIONS, "amax, dim 1", "amin, dim 1"} - names == mended


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
