"""Every way a size can be dynamic: at both ends of its range and between, and outside of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wheels import Installed

SETUP = """
import inspect, json, torch
from sizes import modules
from sizes.models import blocks, found, open as opened, pairs, shifted

generator = torch.Generator().manual_seed(3)
rand = lambda *shape: torch.randn(shape, generator=generator)

def same(model, eager, *args):
    with torch.no_grad():
        expected = eager.eval()(*args)
    torch.testing.assert_close(model(*args), expected, rtol=1e-4, atol=1e-5)
"""


@pytest.fixture(scope="module")
def sizes(installed: Callable[[str], Installed]) -> Installed:
    return installed("sizes")


def test_the_multiples_of_a_number(sizes: Installed) -> None:
    sizes.run(
        SETUP
        + "for batch in (1, 2, 7, 15, 16):\n    for length in (8, 16, 56, 120, 128):\n"
        + "        same(blocks, modules.Blocks(), rand(batch, length))\nprint(1)"
    )


def test_sizes_that_follow_from_another(sizes: Installed) -> None:
    sizes.run(
        SETUP
        + "for n in (1, 2, 17, 49, 50):\n"
        + "    same(shifted, modules.Shifted(), rand(n, 3), rand(n + 1, 3), rand(2 * n, 3))\n"
        + "for n in (1, 2, 13, 39, 40):\n"
        + "    same(pairs, modules.Pairs(), rand(2 * n + 1, 4))\nprint(1)"
    )


def test_a_range_without_an_end_and_one_from_zero(sizes: Installed) -> None:
    sizes.run(
        SETUP
        + "for n in (0, 1, 2, 1000, 70000):\n    same(opened, modules.Open(), rand(n, 4))\nprint(1)"
    )


def test_torch_export_finds_what_is_dynamic(sizes: Installed) -> None:
    assert "warning: the dimension length is static" in sizes.output
    assert "tool.aotbuild.models.found.dims.length" in sizes.output
    assert "the dimension batch is static" not in sizes.output
    sizes.run(
        SETUP
        + "for n in (1, 2, 3, 64, 5000):\n    same(found, modules.Found(), rand(n, 5))\nprint(1)"
    )


def test_nothing_is_narrower_than_declared(sizes: Installed) -> None:
    assert "will accept" not in sizes.output
    dims = {name: sizes.manifest(name)["dims"] for name in ("blocks", "found", "open", "pairs")}
    assert sizes.manifest("blocks")["conditions"] == []  # all hold for multiples of 8
    assert dims["blocks"]["batch"] == {"min": 1, "max": 16, "multiple_of": 1}
    assert dims["blocks"]["length"] == {"min": 8, "max": 128, "multiple_of": 8}
    assert dims["pairs"] == {"pairs": {"min": 1, "max": 40, "multiple_of": 1}}
    assert dims["open"] == {"rows": {"min": 0, "max": None, "multiple_of": 1}}
    assert dims["found"] == {"batch": {"min": 1, "max": None, "multiple_of": 1}}


WRONG = [
    (
        "blocks(rand(2, 12))",
        "ValueError",
        "length is 12, the compiled model takes 8 to 128 in multiples of 8",
    ),
    (
        "blocks(rand(2, 136))",
        "ValueError",
        "length is 136, the compiled model takes 8 to 128 in multiples of 8",
    ),
    (
        "blocks(rand(2, 0))",
        "ValueError",
        "length is 0, the compiled model takes 8 to 128 in multiples of 8",
    ),
    ("blocks(rand(17, 8))", "ValueError", "batch is 17, the compiled model takes 1 to 16"),
    ("shifted(rand(3, 3), rand(3, 3), rand(6, 3))", "ValueError", "'padded' has shape (3, 3)"),
    ("shifted(rand(3, 3), rand(3, 3), rand(6, 3))", "ValueError", "seq is 2, but 3 in 'x'"),
    ("shifted(rand(3, 3), rand(4, 3), rand(8, 3))", "ValueError", "seq is 4, but 3 in 'x'"),
    (
        "shifted(rand(3, 3), rand(4, 3), rand(7, 3))",
        "ValueError",
        "dimension 0 is 7, which is 2*seq for no seq",
    ),
    (
        "shifted(rand(51, 3), rand(52, 3), rand(102, 3))",
        "ValueError",
        "seq is 51, the compiled model takes 1 to 50",
    ),
    ("pairs(rand(6, 4))", "ValueError", "dimension 0 is 6, which is 2*pairs+1 for no pairs"),
    ("pairs(rand(83, 4))", "ValueError", "pairs is 41, the compiled model takes 1 to 40"),
    ("pairs(rand(1, 4))", "ValueError", "pairs is 0, the compiled model takes 1 to 40"),
    ("found(rand(2, 6))", "ValueError", "dimension 1 must be 5, not 6"),
    ("found(rand(0, 5))", "ValueError", "batch is 0, the compiled model takes 1 or more"),
    ("opened(rand(3))", "ValueError", "argument 'x' must have 2 dimensions, (rows, 4)"),
]


def test_wrong_sizes_name_the_dimension(sizes: Installed) -> None:
    sizes.refuses(SETUP, WRONG)


def test_the_stub_tells_the_sizes(sizes: Installed) -> None:
    stub = sizes.files["sizes/models/__init__.pyi"].decode()
    for text in (
        "float32 tensor of shape (batch, length)",
        "float32 tensor of shape (seq+1, 3)",
        "float32 tensor of shape (2*seq, 3)",
        "float32 tensor of shape (2*pairs+1, 4)",
        "float32 tensor of shape (batch, 5)",
        "length: 8 to 128 in multiples of 8\n",
        "float32 tensor of shape (batch, length // 8)",
        "float32 tensor of shape (pairs, 4)",
    ):
        assert text in stub
