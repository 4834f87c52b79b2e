"""Parameters that libraries only have combined with others: kept where small, else told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from samples import sample_manifest, sample_variant

from aotbuild.passes.convolution.fold_batch_norm import foldable
from aotbuild.runtime.manifest import Constant, Parameter
from aotbuild.steps.bundle.step import _folded_lines
from aotbuild.steps.package.folded import KEPT_ANYWAY, kept_parameters, unreadable


def op(name: str, *keys: str) -> dict[str, Any]:
    return {"op": name, "args": [{"tensor": key} for key in keys]}


SCALED = op("aten.mul.Tensor", "conv.weight", "norm.weight")
MOVED = op("aten.t.default", "fc.weight")
SIZES = {"conv.weight": 900_000, "norm.weight": 400, "fc.weight": 10**9}


def test_small_parameters_that_were_combined_are_kept() -> None:
    assert kept_parameters([SCALED, MOVED], [], SIZES, swappable=False) == [
        "conv.weight",
        "norm.weight",
    ]
    assert kept_parameters([SCALED], ["norm.weight"], SIZES, swappable=False) == ["conv.weight"]
    assert kept_parameters([MOVED], [], SIZES, swappable=False) == []


def test_large_ones_are_kept_where_that_is_declared() -> None:
    large = {**SIZES, "conv.weight": KEPT_ANYWAY}
    assert kept_parameters([SCALED, MOVED], [], large, swappable=False) == []
    assert kept_parameters([SCALED, MOVED], [], large, swappable=True) == sorted(SIZES)


def constant(fqn: str) -> Constant:
    return Constant(fqn, fqn, fqn, "float32", [1], [1], 0, 4)


def test_what_a_state_dict_cannot_give_is_told_in_the_log() -> None:
    state = [Parameter(key, "float32", [1], key) for key in SIZES]
    variant = sample_variant(derived={"computed:a": SCALED, "computed:b": MOVED})
    manifest = sample_manifest(state=state, variants=[variant])
    assert unreadable([manifest]) == ["conv.weight", "norm.weight"]
    (line,) = _folded_lines([manifest])
    assert "aotbuild: net: 2 weights are folded into others, such as conv.weight" in line
    assert "swappable = true in tool.aotbuild.models.net keeps them" in line
    kept = sample_manifest(state=state, variants=[variant], kept=[constant("conv.weight")])
    assert unreadable([kept]) == ["norm.weight"]
    whole = sample_manifest(state=state, variants=[sample_variant(folded=["fc.weight"])])
    assert unreadable([whole]) == ["fc.weight"]
    assert not list(_folded_lines([sample_manifest(state=state)]))


def test_norms_that_would_be_folded_are_counted_and_left_as_they_are(tmp_path: Path) -> None:
    del tmp_path
    layers = (torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    module = torch.nn.Sequential(*layers, torch.nn.BatchNorm2d(8)).eval()
    graph: Any = torch.export.export(module, (torch.ones(2, 3, 9, 9),)).module(check_guards=False)
    before = str(graph.graph)
    assert foldable(graph) == 1  # the other one stands behind no layer
    assert str(graph.graph) == before
