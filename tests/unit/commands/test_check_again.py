"""``check`` of what has not changed: told again without tracing, and traced where anything has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from aotbuild.__main__ import main
from aotbuild.hook.build_system import torch_pin

PYPROJECT = f"""\
[build-system]
requires = ["scikit-build-core>=1.1", "aotbuild", "{torch_pin()}"]
build-backend = "scikit_build_core.build"

[project]
name = "twice"
version = "0.1.0"
requires-python = ">=3.11"
dynamic = ["dependencies"]

[[tool.dynamic-metadata]]
provider = "aotbuild"

[tool.aotbuild.models.net]
source = "twice:Net"
inputs.x = {{ shape = ["rows", 4] }}
dims.rows = {{ min = 1, max = 8 }}

[tool.aotbuild.models.other]
source = "twice:Other"
inputs.x = {{ shape = [2, 4] }}
"""
MODULE = """\
import torch
from twice.size import SIZE

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, SIZE)

    def forward(self, x):
        return self.layer(x)

class Other(torch.nn.Module):
    def forward(self, x):
        return x + 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AOTBUILD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("AOTBUILD_CACHE", raising=False)
    root = tmp_path / "twice"
    (root / "twice").mkdir(parents=True)
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "twice/__init__.py").write_text(MODULE)
    (root / "twice/size.py").write_text("SIZE = 3\n")
    return root


def run(project: Path, *options: str) -> int:
    """``check``, as in a process of its own: with nothing of the project imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "twice"]:
        del sys.modules[name]
    return main(["check", "--project", str(project), *options])


def check(project: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
    assert run(project, *options) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_what_has_not_changed_is_told_again_without_tracing(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = check(project, capsys)
    assert "are random" in first[1]
    assert "float32 [rows, 3]" in first[0]
    with monkeypatch.context() as patch:
        patch.setattr("aotbuild.steps.export.trace.trace", None)
        again = check(project, capsys)
        assert again == first
        one, _ = check(project, capsys, "other")
        assert "net " not in one
        assert check(project, capsys, "--json")[1] == first[1]
        assert run(project, "--explain") == 1  # for which they have to be traced


def save(project: Path, value: float) -> None:
    state = {"layer.weight": torch.ones(3, 4), "layer.bias": torch.full((3,), value)}
    torch.save(state, project / "net.pt")


@pytest.mark.parametrize("what", ["source", "module", "declaration", "weights", "requirement"])
def test_what_has_changed_is_traced_again(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "weights":
        save(project, 1.0)
        declared = PYPROJECT.replace('"twice:Net"', '"twice:Net"\nweights = "net.pt"')
        (project / "pyproject.toml").write_text(declared)
    check(project, capsys)
    if what == "source":
        text = MODULE.replace("self.layer(x)", "self.layer(x)[0]")
        (project / "twice/__init__.py").write_text(text)
        assert "float32 [3]" in check(project, capsys)[0]
    elif what == "module":
        (project / "twice/size.py").write_text("SIZE = 5\n")
        assert "float32 [rows, 5]" in check(project, capsys)[0]
    elif what == "declaration":
        (project / "pyproject.toml").write_text(PYPROJECT.replace("max = 8", "max = 9"))
        assert "rows 1 to 9" in check(project, capsys)[0]
    elif what == "requirement":
        declared = PYPROJECT.replace(
            "requires-python", 'description = "two models"\nrequires-python'
        )
        (project / "pyproject.toml").write_text(declared)
        monkeypatch.setattr("aotbuild.steps.export.trace.trace", None)
        assert run(project) == 1
    else:
        save(project, float("nan"))
        assert run(project) == 1
        assert "nan" in capsys.readouterr().err.lower()


def test_what_cannot_be_traced_is_tried_again(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "twice/size.py").write_text("SIZE = missing\n")
    for _ in range(2):
        assert run(project) == 1
        assert "name 'missing' is not defined" in capsys.readouterr().err
    (project / "twice/size.py").write_text("SIZE = 2\n")
    assert "float32 [rows, 2]" in check(project, capsys)[0]
