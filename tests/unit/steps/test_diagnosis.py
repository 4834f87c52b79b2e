"""Which dimension a model pins down, in which line, and what would do."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from aotbuild.config.schema import DeclaredDim
from aotbuild.runtime.dims import concrete
from aotbuild.steps.artifacts.samples import example_sizes
from aotbuild.steps.export.arguments import Argument, Parameter
from aotbuild.steps.export.diagnosis import Finding, findings
from aotbuild.steps.export.flat_module import Flat
from aotbuild.steps.export.guards import recording
from aotbuild.steps.sizes.shapes import declared_shape, torch_dims


class Reshapes(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(4, 4) + 1


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.shape[1] > 16 else -x


class Halves(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.shape[0], x.shape[1] // 2, 2)


class Adds(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Shifts(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x[:, 1:] + y


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Reshapes()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[0](x)  # type: ignore[no-any-return]


def diagnose(
    module: nn.Module, shapes: Mapping[str, Sequence[int | str]], dims: Mapping[str, DeclaredDim]
) -> list[Finding]:
    declared = [declared_shape(shape) for shape in shapes.values()]
    sizes = example_sizes(dims, {})
    tensors = [torch.rand(concrete(shape, sizes)) for shape in declared]
    arguments = [
        Argument(name, Parameter.POSITIONAL_OR_KEYWORD, tensor)
        for name, tensor in zip(shapes, tensors, strict=True)
    ]
    flat = Flat(module, "forward", arguments)
    specs = tuple(torch_dims(declared, dims))
    with recording() as recorder, contextlib.suppress(Exception):
        torch.export.export(flat, (tuple(tensors),), dynamic_shapes=(specs,), strict=False)
    return findings(recorder, list(shapes), declared, dims, Path(__file__).parent)


CASES: list[
    tuple[nn.Module, dict[str, list[int | str]], dict[str, DeclaredDim], str, str, str, str]
] = [
    (Reshapes(), {"x": ["batch", 4]}, {"batch": DeclaredDim(max=64)}, "batch", "batch = 4 only",
     "return x.reshape(4, 4) + 1", 'write 4 in place of "batch" (x, position 0)'),
    (Inner(), {"x": ["batch", 4]}, {"batch": DeclaredDim(max=64)}, "batch", "batch = 4 only",
     "return x.reshape(4, 4) + 1", 'write 4 in place of "batch" (x, position 0)'),
    (Branches(), {"x": [2, "seq"]}, {"seq": DeclaredDim(min=1, max=64, example=20)}, "seq",
     "seq is 17 to 64", "if x.shape[1] > 16", "seq = { min = 17, max = 64 }"),
    (Branches(), {"x": [2, "seq"]}, {"seq": DeclaredDim(min=1, example=8)}, "seq",
     "seq is 1 to 16", "if x.shape[1] > 16", "seq = { min = 1, max = 16 }"),
    (Halves(), {"x": [3, "seq"]}, {"seq": DeclaredDim(min=2, max=64, example=8)}, "seq",
     "multiples of 2", "x.shape[1] // 2", "max = 64, multiple-of = 2 }"),
    (Adds(), {"x": ["batch", 8], "y": ["rows", 8]},
     {"batch": DeclaredDim(max=64, example=4), "rows": DeclaredDim(max=64, example=4)}, "rows",
     "rows is always batch", "return x + y", 'write "batch" in place of "rows" (y, position 0)'),
    (Shifts(), {"x": [2, "seq"], "y": [2, "short"]},
     {"seq": DeclaredDim(min=2, max=64, example=5), "short": DeclaredDim(max=64, example=4)}, "seq",
     "seq is always short+1", "return x[:, 1:] + y",
     'write "short+1" in place of "seq" (x, position 1)'),
]  # fmt: skip


@pytest.mark.parametrize(("module", "shapes", "dims", "dim", "text", "line", "fix"), CASES)
def test_a_pinned_dimension_is_told_with_its_line_and_the_toml_that_would_do(
    module: nn.Module,
    shapes: Mapping[str, Sequence[int | str]],
    dims: Mapping[str, DeclaredDim],
    dim: str,
    text: str,
    line: str,
    fix: str,
) -> None:
    result = {finding.dim: finding for finding in diagnose(module, shapes, dims)}
    assert dim in result
    assert text in result[dim].text
    assert line in result[dim].line
    assert "test_diagnosis.py:" in result[dim].line
    assert fix in result[dim].fix


def test_a_model_that_leaves_its_dimensions_alone_has_no_findings() -> None:
    shapes: dict[str, list[int | str]] = {"x": ["batch", 8], "y": ["batch", 8]}
    assert diagnose(Adds(), shapes, {"batch": DeclaredDim(max=64)}) == []
