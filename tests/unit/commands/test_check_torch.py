"""``python -m aotbuild check --torch``: what builds use of torch's private parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from one_model import check_model
from pydantic import TypeAdapter

from aotbuild.__main__ import main
from aotbuild.commands.check import Checked
from aotbuild.steps.torch_parts import moved
from aotbuild.steps.torch_parts.moved import USES
from aotbuild.steps.torch_parts.part import torch_version

MODEL = """
[tool.aotbuild]
runtime = "torch"

[tool.aotbuild.models.net]
source = "partly:Net"
inputs.x = { shape = [2, 3] }
"""
MODULE = """
import torch


class Net(torch.nn.Module):
    def forward(self, x):
        return x + 1
"""


@pytest.fixture(autouse=True)
def looked_for_anew() -> Iterator[None]:
    for cache in (moved.moved, moved.usable):
        cache.cache_clear()
    yield
    for cache in (moved.moved, moved.usable):
        cache.cache_clear()


def run(capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = main(["check", "--torch"])
    return code, capsys.readouterr().out.splitlines()


def test_all_parts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = run(capsys)
    assert code == 0
    assert lines[-1] == f"torch {torch_version()}: nothing is missing"
    assert [line.partition(":")[0] for line in lines[:-1] if line[0] != " "] == list(USES)
    assert "  + torch._inductor.aot_compile" in lines
    assert "  + torch._inductor.config.cpp.threads" in lines
    assert any("#pragma omp for" in line for line in lines)


def test_what_is_missing_is_told_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    code, lines = run(capsys)
    assert code == 0  # builds go on without it
    assert lines[-2] == f"torch {torch_version()}: missing:"
    assert lines[-1].startswith("sizes of caches: lacks torch.cpu.get_capabilities")


def test_it_fails_where_nothing_could_be_built(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    monkeypatch.delattr(ShapeEnv, "create_symintnode")
    code, lines = run(capsys)
    assert code == 1
    assert lines[-1].startswith("hints: lacks torch.fx.experimental.symbolic_shapes.ShapeEnv")


def test_without_torch_it_says_where_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aotbuild.commands.check_torch.installed_torch", lambda: None)
    with pytest.raises(SystemExit) as caught:
        main(["check", "--torch"])
    assert str(caught.value.code) == (
        "aotbuild: error: torch is not installed\n"
        "  where: environment\n"
        "  fix:   run the command in the environment that builds, as pip does in an isolated one"
    )


def test_a_check_of_a_project_tells_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert check_model(tmp_path, "partly", MODEL, MODULE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == f"torch {torch_version()} lacks private parts that builds use:"
    assert lines[-1].startswith("sizes of caches: lacks torch.cpu.get_capabilities")


def test_programs_get_json_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_model(tmp_path, "told", MODEL.replace("partly", "told"), MODULE)
    capsys.readouterr()
    assert main(["check", "--json", "--project", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    TypeAdapter(Checked).validate_json(out, strict=True, extra="forbid")
    said = json.loads(out)
    (model,) = said["models"]
    assert model["takes"] == ["x float32 [2, 3]"]
    assert model["returns"] == ["float32 [2, 3]"]
    assert said["imports"].endswith(" import net")
