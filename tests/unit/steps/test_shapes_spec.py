"""Dynamic shapes as torch's ``ShapesSpec``, and the names that torch gives to ``**kwargs``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch_pin import TORCH

from aotbuild.config.schema import Call, Model
from aotbuild.errors import ExportError
from aotbuild.runtime.dims import Dim
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.spec import ExportSpec, Tools
from aotbuild.steps.export import trace
from aotbuild.steps.export.method import method_to_trace

newer = pytest.mark.skipif(TORCH.release < (2, 14), reason="ShapesSpec came with torch 2.14")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

X, BIAS = torch.linspace(-1, 1, 24).view(8, 3), torch.linspace(0, 1, 16).view(8, 2)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor, *, factor: int = 2, **others: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.layer(x) * factor + others["bias"].sum(-1, keepdim=True)
        return total


Traced = Callable[[Any], CallSpec]


@pytest.fixture
def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traced:
    """Traces the module with dynamic shapes."""

    def run(shapes: Any) -> CallSpec:
        module: Any = ModuleType("shaped")
        module.example = lambda: ((X,), {"factor": 3, "bias": BIAS})
        module.shapes = shapes
        monkeypatch.setitem(sys.modules, "shaped", module)
        call = Call(example="shaped:example", dynamic_shapes="shaped:shapes")
        spec = ExportSpec(
            name="net",
            device="cpu",
            declaration=Model(source="shaped:Scaled"),
            project=str(tmp_path),
            package="demo.models",
            import_paths=[],
            output="",
            tools=Tools(aotbuild="", torch=""),
        )
        with torch.no_grad():
            method = method_to_trace(spec, "forward", call, Scaled().eval(), None)
            return trace._trace_method(method).call

    return run


@pytest.mark.parametrize("nested", [False, True])
def test_keywords_are_named_as_any_torch_names_them(traced: Traced, nested: bool) -> None:  # noqa: FBT001
    batch = torch.export.Dim("batch", max=64)
    bias = {"bias": {0: batch}}
    found = traced({"x": {0: batch}, "factor": None, **({"others": bias} if nested else bias)})
    assert found.dims == {"batch": Dim(1, 64)}
    assert [each.shape for each in found.inputs] == [["batch", 3], ["batch", 2]]


def test_a_name_that_is_no_keyword_is_told(traced: Traced) -> None:
    with pytest.raises(ExportError) as caught:
        traced({"x": None, "bios": {0: torch.export.Dim("batch")}})
    assert "['bios'] are not among" in caught.value.why


@newer
def test_a_specification_tells_names_and_ranges(traced: Traced) -> None:
    from torch.fx.experimental.dynamic_spec import ParamsSpec, ShapesSpec, ShapeVar, TensorSpec

    batch = ShapeVar("batch", min=2, max=64)
    params = ParamsSpec(
        {"x": TensorSpec([batch, 3]), "**kwargs": {"bias": TensorSpec([batch, None])}}
    )
    for shapes in (ShapesSpec(params), params, lambda: ShapesSpec(params)):
        found = traced(shapes)
        assert found.dims == {"batch": Dim(2, 64)}
        assert found.example == {"batch": 8}
        assert [each.shape for each in found.inputs] == [["batch", 3], ["batch", 2]]


@newer
def test_what_a_specification_leaves_out_is_fixed(traced: Traced) -> None:
    from torch.fx.experimental.dynamic_spec import ShapesSpec

    found = traced(ShapesSpec({}))
    assert found.dims == {}
    assert [each.shape for each in found.inputs] == [[8, 3], [8, 2]]


@newer
def test_a_number_that_a_specification_makes_dynamic_is_refused(traced: Traced) -> None:
    from torch.fx.experimental.dynamic_spec import IntVar, ParamsSpec

    with pytest.raises(ExportError) as caught:
        traced(ParamsSpec({"factor": IntVar("factor")}))
    assert "stands for 3: arguments that are no tensors are fixed" in caught.value.why
