"""Fifty random small modules give what eager torch gives; ``make fuzz`` builds more of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wheels import Installed

RUN = """
import json, pathlib, sys, torch
from random_modules import modules
import random_modules.models as models

def same(found, right, path):
    if isinstance(right, torch.Tensor):
        assert found.dtype == right.dtype, path
        if right.dtype.is_floating_point:
            torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5, equal_nan=True)
        else:
            assert torch.equal(found, right), path
    elif isinstance(right, dict):
        assert found.keys() == right.keys(), path
        for key in right:
            same(found[key], right[key], f"{path}[{key!r}]")
    else:
        assert type(found) is type(right) and len(found) == len(right), path
        for i, pair in enumerate(zip(found, right)):
            same(*pair, f"{path}[{i}]")

compared = 0
for number in range(5):
    model, eager = getattr(models, f"group{number}"), modules.Group("modules.json", 10 * number, 10)
    # Inductor may have narrowed the range, which the build then warns of.
    for batch in range(model.dims["batch"].min, model.dims["batch"].max + 1):
        generator = torch.Generator().manual_seed(batch)
        args = (
            torch.randn(batch, 6, generator=generator),
            torch.randint(-100, 100, (batch, 5), generator=generator),
            torch.rand(batch, 6, generator=generator) > 0.5,
        )
        with torch.no_grad():
            right = eager(*args)
        found = model(*args)
        for i in range(10):
            same(found[i], right[i], f"module {10 * number + i}, batch {batch}")
            compared += 1
print(compared)
"""


@pytest.fixture(scope="module")
def random_modules(installed: Callable[[str], Installed]) -> Installed:
    return installed("random_modules")


def test_random_modules_give_what_eager_gives(random_modules: Installed) -> None:
    assert random_modules.run(RUN) >= 200
