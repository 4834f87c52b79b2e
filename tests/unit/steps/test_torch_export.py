"""What is tried where torch.export fails, and that proposed ranges are tried alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.fx.experimental import _config as fx_config

from aotbuild.config.schema import Call, DeclaredDim, Model, TensorInput
from aotbuild.steps.artifacts.spec import ExportSpec, Tools
from aotbuild.steps.export.method import Method, method_to_trace
from aotbuild.steps.export.torch_export import _findings_with, export_method


class Frames(nn.Module):
    """At 25 samples there is one frame, which torch supposes does not occur."""

    def __init__(self) -> None:
        super().__init__()
        layers = nn.Conv1d(1, 8, 10, stride=5), nn.GroupNorm(4, 8), nn.Conv1d(8, 8, 4, stride=2)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x[:, None]).transpose(1, 2)  # type: ignore[no-any-return]


@pytest.fixture
def method(tmp_path: Path) -> Method:
    call = Call(
        inputs={"x": TensorInput(shape=[1, "samples"])},
        dims={"samples": DeclaredDim(min=25, max=4000)},
    )
    spec = ExportSpec(
        name="net",
        device="cpu",
        declaration=Model(source="demo:Frames"),
        project=str(tmp_path),
        package="demo.models",
        import_paths=[],
        output="",
        tools=Tools(aotbuild="", torch=""),
    )
    return method_to_trace(spec, "forward", call, Frames().eval(), None)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch warns of its own calls
def test_a_derived_size_of_one_needs_no_other_range(method: Method) -> None:
    exported = export_method(method)
    assert exported.recorder.shape_env is not None
    low = min(int(found.lower) for found in exported.program.range_constraints.values())
    assert low == 25


def test_a_range_that_is_proposed_is_traced_in_all_ways_in_which_the_model_would_be(
    method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    export: Callable[..., Any] = torch.export.export
    config: Any = fx_config

    def fails_unless_oblivious(*args: Any, **kwargs: Any) -> Any:
        if not config.backed_size_oblivious:
            raise RuntimeError("the values do not satisfy the generated guard")
        return export(*args, **kwargs)

    monkeypatch.setattr("torch.export.export", fails_unless_oblivious)
    assert _findings_with(method, {"samples": DeclaredDim(min=40, max=400)}) == []
