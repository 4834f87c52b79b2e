"""Facts about programs: the kinds of work, and a fingerprint of the code alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from aotbuild.steps.artifacts.facts import Facts, facts_of, settings_fingerprint


class Network(nn.Module):
    def __init__(self, scale: float = 2.0, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.linear = nn.Linear(width, 5)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = torch.relu(self.conv(x)).mean((2, 3))
        scores: torch.Tensor = self.linear(mean)
        return scores * self.scale


class Renamed(Network):
    """The same computation by other names, on other lines."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.conv(image)
        # A comment.
        features = torch.relu(features)
        pooled = features.mean((2, 3))
        scores: torch.Tensor = self.linear(pooled)
        return scores * self.scale


def facts(module: nn.Module, *shape: int, most: int | None = None) -> Facts:
    shape = shape or (4, 3, 8, 8)
    dims = None if most is None else ({0: torch.export.Dim("n", max=most)},)
    return facts_of(torch.export.export(module.eval(), (torch.zeros(shape),), dynamic_shapes=dims))


@pytest.mark.filterwarnings("ignore:The tensor attributes")
def test_the_kinds_of_work_are_counted() -> None:
    found = facts(Network())
    assert (found.convolutions, found.products, found.attentions, found.recurrent) == (1, 1, 0, 0)
    assert found.floats == ["float32"]
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert facts(layer, 2, 5, 8).products > 0
    assert facts(nn.LSTM(8, 8, batch_first=True), 2, 5, 8).recurrent > 0


def test_attention_is_counted() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    assert facts(Attention(), 1, 2, 5, 8).attentions == 1


def test_names_lines_and_weights_are_not_in_the_fingerprint() -> None:
    torch.manual_seed(0)
    one = facts(Network())
    torch.manual_seed(1)
    assert facts(Network()) == one
    assert facts(Renamed()) == one


def test_what_is_computed_is_in_the_fingerprint() -> None:
    programs: list[Callable[[], Facts]] = [
        lambda: facts(Network()),
        lambda: facts(Network(scale=3.0)),
        lambda: facts(Network(width=9)),
        lambda: facts(Network(), 5, 3, 8, 8),
        lambda: facts(Network(), most=16),
        lambda: facts(Network(), most=32),
    ]
    prints = [make().program for make in programs]
    assert len(set(prints)) == len(prints)
    assert prints == [make().program for make in programs]


def test_the_example_is_not_in_the_fingerprint_of_a_dynamic_program() -> None:
    assert facts(Network(), 4, 3, 8, 8, most=32) == facts(Network(), 7, 3, 8, 8, most=32)


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = facts(Network())
    found.write(tmp_path)
    assert Facts.read(tmp_path) == found


def test_the_fingerprint_of_settings_does_not_depend_on_their_order() -> None:
    assert settings_fingerprint({"a": 1, "b": {}}) == settings_fingerprint({"b": {}, "a": 1})
    assert settings_fingerprint({"a": 1}) != settings_fingerprint({"a": 2})
