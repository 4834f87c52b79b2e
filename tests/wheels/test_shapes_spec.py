"""A wheel of models whose dynamic shapes are a ``ShapesSpec`` of torch 2.14 and newer."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch_pin import TORCH
from wheels import Installed, install, pip_wheel, project_head

pytestmark = pytest.mark.skipif(TORCH.release < (2, 14), reason="ShapesSpec came with torch 2.14")

MODELS = """\
[tool.aotbuild]
package = "shaped.models"
runtime = "torch"
cpu-levels = ["x86-64-v3", "armv8"]

[tool.aotbuild.models.encoder]
source = "shaped:Encoder"
example = "shaped:example"
dynamic-shapes = "shaped:shapes"

[tool.aotbuild.models.signal]
source = "shaped:Signal"
example = "shaped:example"
dynamic-shapes = "shaped:shapes"
"""
MODULES = """\
import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)

    def forward(self, x):
        return self.layer(x)


class Signal(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv1d(16, 24, 3, padding=1)
        self.lstm = nn.LSTM(24, 20, batch_first=True)

    def forward(self, x):
        return self.lstm(self.conv(x.transpose(1, 2)).relu().transpose(1, 2))[0]


def example():
    return (torch.randn(4, 6, 16),), {}


def shapes():
    from torch.fx.experimental.dynamic_spec import ShapesSpec, ShapeVar, TensorSpec

    batch, steps = ShapeVar("batch", min=1, max=32), ShapeVar("steps", min=1, max=40)
    return ShapesSpec({"x": TensorSpec([batch, steps, 16])})
"""
COMPARE = """
import json, torch
from shaped import Encoder, Signal
from shaped.models import encoder, signal
torch.manual_seed(2)
largest = 0.0
with torch.no_grad():
    for size in ((1, 1), (1, 9), (2, 1), (7, 12), (32, 40)):
        x = torch.randn(*size, 16)
        for module, model in ((Encoder().eval(), encoder), (Signal(), signal)):
            largest = max(largest, (module(x) - model(x)).abs().max().item())
print(json.dumps([largest, {n: [d.min, d.max] for n, d in encoder.dims.items()}]))
"""


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory, clean_python: Path) -> Installed:
    project = tmp_path_factory.mktemp("shaped") / "shaped"
    (project / "shaped").mkdir(parents=True)
    (project / "shaped" / "__init__.py").write_text(MODULES)
    (project / "pyproject.toml").write_text(project_head("shaped") + MODELS)
    return install(pip_wheel(project), project.parent / "installed", clean_python)


WHOLE = pytest.mark.skipif(
    TORCH.release < (2, 15), reason="torch 2.14 makes the encoder's batch 1, and the build warns"
)


@WHOLE
def test_its_names_and_ranges_are_those_of_the_model(shaped: Installed) -> None:
    largest, dims = shaped.run(COMPARE)
    assert largest < 1e-5
    assert dims == {"batch": [1, 32], "steps": [1, 40]}


@WHOLE
def test_kernels_compile_for_sizes_of_which_nothing_is_supposed(shaped: Installed) -> None:
    (encoder,) = shaped.manifest("encoder")["variants"]
    (signal,) = shaped.manifest("signal")["variants"]
    assert encoder["compiled"]["passes"] == {"attention": 1, "linear": 4}
    assert signal["compiled"]["passes"]["recurrent"] == 1
    assert "warning" not in shaped.output


def test_other_sizes_are_refused(shaped: Installed) -> None:
    shaped.refuses(
        "import torch\nfrom shaped.models import encoder",
        [
            ("encoder(torch.zeros(33, 4, 16))", "ValueError", "batch"),
            ("encoder(torch.zeros(2, 41, 16))", "ValueError", "steps"),
            ("encoder(torch.zeros(2, 4, 15))", "ValueError", "15"),
        ],
    )
