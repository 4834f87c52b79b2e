"""Sizes that are rounded floats: round, ceil, floor, int and sqrt of others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wheels import Installed

HEAD = """
import torch
from float_sizes import modules
from float_sizes.models import cuts, scaled
generator = torch.Generator().manual_seed(0)
"""


@pytest.fixture(scope="module")
def float_sizes(installed: Callable[[str], Installed]) -> Installed:
    return installed("float_sizes")


def test_each_size_gives_what_eager_gives(float_sizes: Installed) -> None:
    float_sizes.run(
        HEAD
        + """
for batch in (1, 2, 4):
    for length in range(6, 65):
        x = torch.randn(batch, length, generator=generator)
        torch.testing.assert_close(cuts(x), modules.Cuts()(x))
print(1)
"""
    )


def test_images_are_scaled_by_a_factor(float_sizes: Installed) -> None:
    float_sizes.run(
        HEAD
        + """
for height in (8, 9, 15, 16, 31, 40):
    for width in (8, 10, 17, 39, 40):
        image = torch.rand(1 + width % 2, 3, height, width, generator=generator)
        torch.testing.assert_close(scaled(image), modules.Scaled()(image))
print(1)
"""
    )


def test_sizes_outside_the_range_are_refused(float_sizes: Installed) -> None:
    text = float_sizes.run(
        HEAD
        + """
try:
    cuts(torch.rand(1, 5))
except ValueError as error:
    print(repr(str(error)))
"""
    )
    assert "6 to 64" in str(text)
