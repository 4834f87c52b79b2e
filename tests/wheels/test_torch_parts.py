"""Builds with a torch that has moved some of its private parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from wheels import Build, assert_refused, install, keep_models, pip_wheel, project_head

MODELS = """\
[tool.aotbuild]
package = "parts.models"
runtime = "torch"
cpu-levels = ["x86-64-v3", "armv8"]

[tool.aotbuild.models.dense]
source = "parts:Dense"
inputs.x = { shape = ["rows", 20] }
dims.rows = { min = 1, max = 64 }

[tool.aotbuild.models.words]
source = "parts:Words"
inputs.x = { shape = ["rows", 6], dtype = "int64", min = 0, max = 49 }
dims.rows = { min = 1, max = 64 }
"""
MODULES = """\
import torch
from torch import nn


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(20, 48), nn.GELU(), nn.Linear(48, 10))

    def forward(self, x):
        return self.layers(x)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(50, 16)
        self.mixed = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)

    def forward(self, x):
        return self.mixed(self.table(x))
"""
TAKE_AWAY = """\
import importlib.abc
import importlib.util
import sys

GONE = {gone!r}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        gone = [each.split(":")[1] for each in GONE if each.split(":")[0] == name]
        if not gone:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            for each in gone:
                owner, _, attribute = each.rpartition(".")
                delattr(getattr(module, owner), attribute)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""
"""A ``sitecustomize`` that takes names out of classes as soon as their modules are imported."""

COMPARE = """
import json, torch
from parts import Dense, Words
from parts.models import dense, words
torch.manual_seed(2)
largest = 0.0
with torch.no_grad():
    for rows in (1, 7, 64):
        for module, model, x in (
            (Dense(), dense, torch.randn(rows, 20)),
            (Words().eval(), words, torch.randint(0, 50, (rows, 6))),
        ):
            largest = max(largest, (module(x) - model(x)).abs().max().item())
try:
    words(torch.full((2, 6), 50))
    error = "none"
except IndexError as raised:
    error = str(raised)
print(json.dumps([largest, error]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "parts"
    (directory / "parts").mkdir(parents=True)
    (directory / "parts" / "__init__.py").write_text(MODULES)
    (directory / "pyproject.toml").write_text(project_head("parts") + MODELS)
    return directory


def built_without(project: Path, gone: Sequence[str]) -> Build:
    """Build a project with a torch that lacks some names."""
    site = project.parent / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(TAKE_AWAY.format(gone=list(gone)))
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return pip_wheel(project, env={"PYTHONPATH": os.pathsep.join(paths), "AOTBUILD_CACHE": "off"})


def test_kernels_step_aside_with_one_line_and_the_models_are_right(
    project: Path, clean_python: Path
) -> None:
    kernel = "torch._inductor.codegen.cpp_template_kernel:CppTemplateKernel"
    gone = [f"{kernel}.define_stack_allocated_buffer"]
    build = built_without(project, gone)
    told = [line for line in build.output.splitlines() if "has moved" in line]
    assert len(told) == 1, build.output
    assert "uses for templates: models are compiled without these passes" in told[0]
    assert "warning" not in build.output
    wheel = install(build, project.parent / "installed", clean_python)
    for model in ("dense", "words"):
        (variant,) = wheel.manifest(model)["variants"]
        assert variant["compiled"]["aside"] == ["templates"]
        assert not {"linear", "attention"} & set(variant["compiled"]["passes"])
    largest, error = wheel.run(COMPARE)
    assert largest < 1e-5
    assert "an index is outside" in error


def test_a_build_stops_where_nothing_can_be_compiled_rightly(project: Path) -> None:
    keep_models(project, "dense")
    build = built_without(project, ["torch._inductor.graph:GraphLowering.add_tensor_constant"])
    assert_refused(
        build,
        "this aotbuild cannot build with torch",
        "torch._inductor.graph.GraphLowering.add_tensor_constant moved, by which aotbuild keeps",
        "install a newer aotbuild",
    )
