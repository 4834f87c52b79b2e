"""Weights that a class draws at random are told, unless they are meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from aotbuild.config.resolve import named_files, weights_file
from aotbuild.config.schema import Model
from aotbuild.steps.export.source import build_module
from aotbuild.steps.project_code import importing

NETS = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.linear = nn.Linear(width, 2)


class Seeded(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 2)


class Loaded(Net):
    def __init__(self):
        super().__init__()
        self.load_state_dict({"linear.weight": torch.ones(2, 3), "linear.bias": torch.ones(2)})


class Noise(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("noise", torch.randn(4))


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.norm = nn.BatchNorm1d(3)


class Once(Net):
    made = False

    def __init__(self):
        if Once.made:
            raise RuntimeError("there is one already")
        Once.made = True
        super().__init__()


def make():
    return Net()


instance = Net()
"""


@pytest.fixture
def built(tmp_path: Path, fresh_imports: None) -> Callable[..., torch.nn.Module]:
    """Builds the module of a model whose source is in ``demo.nets``."""
    del fresh_imports
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "__init__.py").touch()
    (tmp_path / "demo" / "nets.py").write_text(NETS)
    save_file(
        {"linear.weight": torch.ones(2, 3), "linear.bias": torch.ones(2)}, tmp_path / "net.st"
    )

    def build(source: str, **more: Any) -> torch.nn.Module:
        with importing([str(tmp_path)], "demo.models"):
            model = Model(source=source, **more)
            return build_module("net", model, tmp_path, torch.device("cpu"))

    return build


Built = Callable[..., torch.nn.Module]


@pytest.mark.parametrize(
    ("source", "more", "count", "first"),
    [
        ("demo.nets:Net", {}, 8, "linear.weight"),
        ("demo.nets:Net", {"args": [5]}, 12, "linear.weight"),
        ("demo.nets:Net", {"kwargs": {"width": 5}}, 12, "linear.weight"),
        ("torch.nn:LSTM", {"args": [4, 2]}, 64, "weight_ih_l0"),
        ("demo.nets:Noise", {}, 4, "noise"),
    ],
)
def test_random_weights_of_a_class_are_told(
    built: Built,
    capsys: pytest.CaptureFixture[str],
    source: str,
    more: dict[str, Any],
    count: int,
    first: str,
) -> None:
    built(source, **more)
    told = capsys.readouterr().err
    assert told.startswith(f'aotbuild: warning: the weights of "{source}" are random\n')
    assert "where: pyproject.toml: tool.aotbuild.models.net.weights" in told
    assert f"draws {count} numbers at random, as for {first}" in told
    assert 'weights = "random" if untrained ones are meant' in told
    built(source, **more, weights="random")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["Seeded", "Loaded", "Constant", "Once", "make", "instance"])
def test_weights_that_are_no_accident_are_not_told(
    built: Built, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    built(f"demo.nets:{name}")
    assert capsys.readouterr().err == ""


def test_weights_of_a_file_are_not_told(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    module = built("demo.nets:Net", weights="net.st")
    assert capsys.readouterr().err == ""
    assert all(bool((tensor == 1).all()) for tensor in module.parameters())


def test_the_random_numbers_of_the_build_stay_the_same(built: Built) -> None:
    built("demo.nets:Constant")  # imports the module, which draws some
    torch.manual_seed(5)
    told = built("demo.nets:Net").state_dict()
    after = torch.rand(3)
    torch.manual_seed(5)
    meant = built("demo.nets:Net", weights="random").state_dict()
    assert all(torch.equal(told[name], meant[name]) for name in told)
    assert torch.equal(torch.rand(3), after)


def test_random_is_no_file() -> None:
    model = Model(source="demo.nets:Net", weights="random")
    assert weights_file(model) is None
    assert named_files(model) == []
