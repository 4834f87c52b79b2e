"""Recurrent layers with constant weights become loops over packed weights, others stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from graphs import assert_rewritten, assert_unchanged, calls
from torch import nn

from aotbuild.passes.pipeline import apply
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps
from aotbuild.runtime import torch_arrays
from aotbuild.runtime.derived import compute

pytestmark = pytest.mark.filterwarnings("ignore:The tensor attribute")  # of torch's own layers


class Net(nn.Module):
    """A recurrent layer of 10 features, and all that it gives."""

    def __init__(self, kind: str, units: int, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = getattr(nn, kind)(10, units, **options)

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> Any:
        return self.layer(x, states if len(states) > 1 else states[0] if states else None)


LAYERS: list[tuple[str, int, dict[str, Any]]] = [
    ("LSTM", 16, {}),
    ("LSTM", 5, {"batch_first": True, "num_layers": 2, "bidirectional": True}),
    ("LSTM", 33, {"bias": False, "bidirectional": True}),
    ("GRU", 16, {"batch_first": True}),
    ("GRU", 21, {"num_layers": 3, "bidirectional": True}),
    ("GRU", 7, {"bias": False}),
    ("RNN", 12, {"bidirectional": True, "batch_first": True}),
    ("RNN", 40, {"nonlinearity": "relu", "num_layers": 2}),
]


@pytest.mark.parametrize(("kind", "units", "options"), LAYERS)
def test_layers_of_every_kind_are_taken(kind: str, units: int, options: dict[str, Any]) -> None:
    net = Net(kind, units, **options)
    graph = assert_rewritten(net, "recurrent", torch.randn(3, 4, 10))
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    assert calls(graph)["aotbuild.recurrent.default"] == count
    states = torch.randn(2, count, 4 if not options.get("batch_first") else 3, units)
    given = states.unbind() if kind == "LSTM" else states[:1].unbind()
    assert_rewritten(net, "recurrent", torch.randn(3, 4, 10), *given)


def test_one_sequence_without_a_batch_is_taken() -> None:
    assert_rewritten(Net("LSTM", 16), "recurrent", torch.randn(3, 10))


@pytest.mark.parametrize("rows_first", [False, True])
def test_steps_and_rows_may_be_dynamic(rows_first: bool) -> None:  # noqa: FBT001
    steps, rows = (torch.export.Dim(name, min=1, max=99) for name in ("steps", "rows"))
    net = Net("LSTM", 9, batch_first=rows_first, bidirectional=True)
    dims = {0: rows, 1: steps} if rows_first else {0: steps, 1: rows}
    with dynamic_steps():
        graph = assert_rewritten(net, "recurrent", torch.randn(3, 4, 10), dynamic=(dims,))
    for shape in ((1, 1), (7, 2), (2, 30)):
        x = torch.randn(*shape, 10)
        torch.testing.assert_close(graph(x), net(x))


def test_what_nobody_uses_is_not_made() -> None:
    class Last(Net):
        def forward(self, x: torch.Tensor, *_: torch.Tensor) -> Any:
            return self.layer(x)[0][-1]

    graph = assert_rewritten(Last("LSTM", 16, num_layers=2), "recurrent", torch.randn(3, 4, 10))
    assert not calls(graph)["aten.stack.default"]


def test_layers_that_are_different_stay() -> None:
    class Given(nn.Module):
        def forward(self, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> Any:
            state = torch.zeros(1, 4, 8)
            return torch.gru(x, state, [a, b], False, 1, 0.0, False, False, False)  # noqa: FBT003

    x = torch.randn(3, 4, 10)
    assert_unchanged(Net("LSTM", 16, proj_size=3), "recurrent", x)
    assert_unchanged(Net("LSTM", 16).double(), "recurrent", x.double())
    assert_unchanged(Given(), "recurrent", x, torch.randn(24, 10), torch.randn(24, 8))


def test_what_was_packed_can_be_computed_anew_from_other_weights() -> None:
    net = Net("GRU", 21, bidirectional=True)
    with torch.no_grad():
        program = torch.export.export(net.eval(), (torch.randn(3, 4, 10),), strict=False)
    graph: Any = program.module(check_guards=False)
    applied = apply(graph, ["recurrent"])
    other = {name: tensor + 0.1 for name, tensor in net.state_dict().items()}
    with torch.no_grad():
        for name, recipe in applied.derived.items():
            getattr(graph, name).copy_(compute(recipe, other.__getitem__, torch_arrays))
        net.load_state_dict(other)
        x = torch.randn(3, 4, 10)
        torch.testing.assert_close(graph(x), net(x))


def test_outputs_with_rows_first_keep_the_order_of_torch() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(8, 16, batch_first=True)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            output = self.layer(x)[0]
            return output, output.transpose(0, 1).view(6, -1)

    x = torch.randn(3, 6, 8)
    model = Turned().eval()
    with torch.no_grad():
        graph: Any = torch.export.export(model, (x,)).module(check_guards=False)
        assert apply(graph).counts["recurrent"] == 1
        for found, expected in zip(graph(x), model(x), strict=True):
            torch.testing.assert_close(found, expected)
            assert found.stride() == expected.stride()
