"""Sizes at the ends of what torch.export traces: every size of small ranges is eager's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import Installed, assert_refused, edited, keep_models, pip_wheel

SETUP = """
import torch
from corners import models, modules

generator = torch.Generator().manual_seed(3)
rand = lambda *shape: torch.randn(shape, generator=generator)

def same(name, eager, *shape):
    value = rand(*shape)
    with torch.no_grad():
        expected = eager(value)
    torch.testing.assert_close(getattr(models, name)(value), expected, rtol=1e-4, atol=1e-5)
"""


@pytest.fixture(scope="module")
def corners(installed: Callable[[str], Installed]) -> Installed:
    return installed("corners")


EVERY_SIZE = {
    "batch": "for n in (1, 2):\n    same('batch', modules.Sums(), n, 8)",
    "every": "for b in (0, 1, 2):\n    for r in (1, 2):\n        for c in (2, 3, 4):\n"
    "            same('every', modules.Mixes(), b, r, c)",
    "multiples": "for n in (4, 8):\n    same('multiples', modules.Slopes(), n, 4)",
    "doubled": "for n in range(1, 7):\n    same('doubled', modules.Slopes(), 2 * n, 4)",
    "pooled": "for b in (1, 2, 3):\n    for h in range(6, 17):\n"
    "        for w in (6, 7, 8, 9, 50):\n"
    "            same('pooled', eager, b, 1, h, w)",
    "frames": "for b in (1, 2, 3, 4):\n    for n in (*range(320, 1601, 80), 479, 639, 799):\n"
    "        same('frames', eager, b, n)",
    "flat": "for b in range(1, 6):\n    for f in range(1, 7):\n"
    "        same('flat', modules.Flat(), b, f)",
    "turned": "for r in range(1, 5):\n    for c in range(1, 6):\n"
    "        same('turned', modules.Turned(), r, c)",
}
MODULES = {"pooled": "eager = modules.Pools()\n", "frames": "eager = modules.Frames()\n"}


@pytest.mark.parametrize("name", EVERY_SIZE)
def test_every_size_of_the_range_gives_the_eager_result(corners: Installed, name: str) -> None:
    corners.run(f"{SETUP}\n{MODULES.get(name, '')}{EVERY_SIZE[name]}\nprint(1)")


def test_a_pooling_that_rounds_up_keeps_its_range(corners: Installed) -> None:
    assert "will accept" not in corners.output
    assert corners.manifest("pooled")["conditions"] == []


def test_a_transposed_result_keeps_its_range(corners: Installed) -> None:
    assert corners.manifest("turned")["conditions"] == []


def test_a_range_in_which_a_derived_size_is_1_is_kept(corners: Installed) -> None:
    manifest = corners.manifest("frames")
    assert manifest["dims"]["samples"] == {"min": 320, "max": 1600, "multiple_of": 1}
    assert manifest["conditions"] == []


def counting(project: Path, *more: tuple[str, str]) -> Path:
    """A project whose model makes a plain number of the product of two sizes."""
    return edited(keep_models(project, "flat"), ("modules:Flat", "modules:Counts"), *more)


def test_len_of_a_tensor_is_named_with_its_line(project: Callable[[str], Path]) -> None:
    assert_refused(
        pip_wheel(counting(project("corners"))),
        "the model does not work for every declared size of batch, frames",
        "tool.aotbuild.models.flat.dims.batch",
        "corners/modules.py:61 in forward: return values + torch.ones(len(values))",
        "it works where batch*frames is 20 only, as in the example",
        "len() makes a plain number of a size: write values.shape[0]",
        "strict-dims = false",
    )
