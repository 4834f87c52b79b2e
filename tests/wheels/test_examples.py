"""Example data from Python and from files, and dynamic shapes in torch.export's notation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wheels import Installed

SETUP = """
import json, torch
from examples import modules, samples
from examples.models import collected, from_arrays, from_file, from_function

generator = torch.Generator().manual_seed(3)
rand = lambda *shape: torch.rand(*shape, generator=generator)

def ids(batch, seq):
    return torch.randint(3, 15, (batch, seq), generator=generator)

def same(model, eager, *args, **kwargs):
    with torch.no_grad():
        expected = eager.eval()(*args, **kwargs)
    actual = model(*args, **kwargs)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
"""


@pytest.fixture(scope="module")
def examples(installed: Callable[[str], Installed]) -> Installed:
    return installed("examples")


@pytest.mark.parametrize("model", ["from_function", "from_file"])
def test_data_of_a_function_and_of_a_file(examples: Installed, model: str) -> None:
    examples.run(
        SETUP
        + f"model = {model}\n"
        + "for batch in (1, 2, 5, 7, 8):\n    for seq in (1, 2, 11, 31, 32):\n"
        + "        same(model, modules.Masked(), ids(batch, seq), {'hidden': rand(batch, 6)})\n"
        + "same(model, modules.Masked(), state={'hidden': rand(2, 6)}, ids=ids(2, 3))\n"
        + "args, kwargs = samples.call()\nsame(model, modules.Masked(), *args, **kwargs)\nprint(1)"
    )


def test_data_of_an_npz_file_without_declared_inputs(examples: Installed) -> None:
    examples.run(
        SETUP + "same(from_arrays, modules.Scaled(), rand(4, 3), rand(3))\n"
        "same(from_arrays, modules.Scaled(), y=rand(3), x=rand(4, 3))\nprint(1)"
    )
    assert examples.manifest("from_arrays")["dims"] == {}


def test_declared_inputs_with_shapes_of_torch_export(examples: Installed) -> None:
    examples.run(
        SETUP + "for rows in (1, 2, 17, 40, 63, 64):\n"
        "    same(collected, modules.Scaled(), rand(rows, 3), rand(3))\nprint(1)"
    )


def test_the_ranges_are_those_of_the_dims(examples: Installed) -> None:
    def ends(model: str) -> dict[str, list[int]]:
        dims = examples.manifest(model)["dims"]
        return {name: [dim["min"], dim["max"]] for name, dim in dims.items()}

    assert ends("from_function") == {"batch": [1, 8], "seq": [1, 32]}
    assert ends("from_file") == {"batch": [1, 8], "seq": [1, 32]}
    assert ends("collected") == {"rows": [1, 64]}


WRONG = [
    ("from_function(ids(9, 3), {'hidden': rand(9, 6)})", "ValueError", "batch is 9, the compiled"),
    ("from_function(ids(3, 33), {'hidden': rand(3, 6)})", "ValueError", "seq is 33, the compiled"),
    (
        "from_function(ids(3, 4), {'hidden': rand(2, 6)})",
        "ValueError",
        "but 3 in 'ids'",
    ),
    (
        "from_function(ids(3, 4), {'hiden': rand(3, 6)})",
        "TypeError",
        "argument 'state' must be a dict with the keys 'hidden', got the keys 'hiden'",
    ),
    ("from_file(ids(9, 3), {'hidden': rand(9, 6)})", "ValueError", "batch is 9, the compiled"),
    ("from_file(ids(3, 3).int(), {'hidden': rand(3, 6)})", "TypeError", "must have dtype int64"),
    ("from_arrays(rand(5, 3), rand(3))", "ValueError", "dimension 0 must be 4, not 5"),
    ("collected(rand(0, 3), rand(3))", "ValueError", "rows is 0, the compiled model takes 1 to 64"),
    ("collected(rand(65, 3), rand(3))", "ValueError", "rows is 65, the compiled model takes"),
    ("collected(rand(4, 3), rand(4))", "ValueError", "dimension 0 must be 3, not 4"),
]


def test_wrong_calls_name_the_argument(examples: Installed) -> None:
    examples.refuses(SETUP, WRONG)
