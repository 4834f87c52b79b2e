"""Values beyond those of the examples: indices of a declared range, weights of old versions, and
the operator that is wrong where no example looks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wheels import Build, Installed, copy_package, pip_wheel

SETUP = """
import json, torch
from values.models import neighbours, voice
from values.modules import Neighbours, Voice

eager = Neighbours().eval()
atoms = torch.randn(7, 3)

def raised(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:
        return type(error).__name__
    return "nothing"
"""


@pytest.fixture(scope="module")
def values(installed: Callable[[str], Installed]) -> Installed:
    return installed("values")


def test_indices_of_a_dimension_are_right_at_every_size(values: Installed) -> None:
    values.run(
        SETUP
        + """
for count in (1, 2, 7, 50):
    atoms, edges = torch.randn(count, 3), torch.randint(0, count, (2, 40))
    with torch.no_grad():
        expected = eager(atoms, edges)
    torch.testing.assert_close(neighbours(atoms, edges), expected, rtol=1e-4, atol=1e-5)
print(1)
"""
    )


@pytest.mark.parametrize("edges", [[[0, -1], [0, 1]], [[0, 7], [0, 1]], [[0, 1], [-1, 1]]])
def test_an_index_that_eager_refuses_is_an_index_error(
    values: Installed, edges: list[list[int]]
) -> None:
    found = values.run(
        SETUP
        + f"edges = torch.tensor({edges})\n"
        + "print(json.dumps([raised(m, atoms, edges) for m in (eager, neighbours)]))"
    )
    # Indexing takes -1 for the last atom, but index_add and index_select do not.
    in_eager, compiled = found
    assert in_eager in {"IndexError", "RuntimeError"}
    assert compiled == "IndexError"


def test_weights_of_an_old_version_are_taken(values: Installed) -> None:
    values.run(
        SETUP
        + f"""
state = torch.load({str(values.directory / "values" / "voice.pt")!r})["model"]
module = Voice().eval()
module.load_state_dict({{name.removeprefix("module."): value for name, value in state.items()}})
x = torch.randn(3, 4, 32)
with torch.no_grad():
    expected = module(x)
torch.testing.assert_close(voice(x), expected, rtol=1e-4, atol=1e-3)
voice.load_state_dict(state)  # by the same names
torch.testing.assert_close(voice(x), expected, rtol=1e-4, atol=1e-3)
print(1)
"""
    )


def test_each_output_is_tested_by_its_own_scale(values: Installed) -> None:
    wave, probability = values.manifest("voice")["selftest"]["outputs"]
    assert wave["atol"] > 1e-2
    assert probability["atol"] < 1e-4


def test_a_checkpoint_in_the_wheel_is_told(values: Installed) -> None:
    assert "values/voice.pt" in values.files
    said = " ".join(values.output.split())
    assert "the wheel holds values/voice.pt (" in said
    assert 'tool.scikit-build.wheel.exclude = ["values/voice.pt"]' in said


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A build with an Inductor that is wrong for negative numbers only."""
    project = copy_package(tmp_path_factory.mktemp("wrong-values"), "values")
    pyproject = project / "pyproject.toml"
    head, _ = pyproject.read_text().split("# Indices of atoms")
    pyproject.write_text(
        head
        + """
[tool.aotbuild.models.rectifier]
source = "values.modules:rectified"
op-libraries = ["values.wrong_relu"]
inputs.q = { shape = ["batch", 8], dtype = "int16" }
dims.batch = { max = 8 }
"""
    )
    return pip_wheel(project)


def test_what_is_wrong_beyond_the_example_names_the_operator_and_its_line(wrong: Build) -> None:
    assert wrong.returncode != 0
    said = " ".join(wrong.output.split())
    assert "the compiled model differs from the eager model in the output" in said
    assert "at inputs that are all negative" in said
    assert "aten.relu at" in said
    assert "values/modules.py:" in said
    assert "in helper: return torch.relu(q)" in said
    assert "random numbers" not in said
    assert wrong.wheels == []
