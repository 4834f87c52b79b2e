"""What a call does to buffers is found out, and the module is left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from aotbuild.runtime.manifest import STATE
from aotbuild.steps.export.arguments import Argument, Parameter
from aotbuild.steps.export.flat_module import Flat
from aotbuild.steps.export.state_buffers import apart_from, buffer_places, given_buffers, watch


class Holder:
    """A plain object with a tensor, as a layer of a cache is."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class Keeping(nn.Module):
    changed: torch.Tensor
    assigned: torch.Tensor
    read: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("changed", "assigned", "read", "idle", "aside"):
            self.register_buffer(name, torch.zeros(1, 3))
        self.holders = [Holder(self.get_buffer("aside"))]
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.changed += x.sum(0)
        self.assigned = self.assigned + x
        self.holders[0].tensor.add_(1)
        return x + self.read


def test_changes_are_found_and_undone() -> None:
    module = Keeping()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    seen = watch(module, lambda: module(torch.ones(2, 3)), {})
    assert seen is not None
    assert sorted(seen.changed) == ["aside", "assigned", "changed"]
    assert seen.changed["assigned"].shape == (2, 3)
    assert seen.used == {"aside", "assigned", "changed", "read"}
    assert module.calls == 0
    assert module.holders[0].tensor is module.get_buffer("aside")
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, before[name])


def test_a_call_that_fails_tells_nothing() -> None:
    module = Keeping()
    assert watch(module, lambda: module(torch.ones(2, 4)), {}) is None
    assert torch.equal(module.changed, torch.zeros(1, 3))


def test_a_buffer_has_all_places_where_it_is_held() -> None:
    module = Keeping()
    module.register_buffer("twice", module.get_buffer("idle"))
    places = buffer_places(module)
    assert {name: len(each) for name, each in places.items()} == {
        "changed": 1,
        "assigned": 1,
        "read": 1,
        "idle": 2,
        "aside": 2,
    }
    given = torch.ones(1, 3)
    with given_buffers(places, {"idle": given, "aside": given}):
        assert module.get_buffer("twice") is module.get_buffer("idle") is given
        assert module.holders[0].tensor is given
    assert module.get_buffer("twice") is not given
    assert module.holders[0].tensor is module.get_buffer("aside")


def test_the_state_takes_the_place_of_buffers_in_a_call_and_in_a_trace() -> None:
    module = Keeping()
    x = torch.ones(2, 3)
    state = {name: torch.zeros(2, 3) for name in ("changed", "assigned", "aside")}
    arguments = [
        Argument("x", Parameter.POSITIONAL_OR_KEYWORD, x),
        Argument("state", STATE, state),
    ]
    flat = Flat(module, "forward", arguments)

    def called(run: Any) -> list[torch.Tensor]:
        given = [torch.zeros(2, 3) for _ in state]
        run((x, *given))
        return given

    expected = called(flat)
    assert [each[0, 0].item() for each in expected] == [2, 1, 1]
    with torch.no_grad():
        example = ((x, *state.values()),)
        program = torch.export.export(flat, example, strict=False)
    assert all(map(torch.equal, called(program.module()), expected))
    assert all(map(torch.equal, called(flat), expected))  # the trace left nothing behind


@pytest.mark.parametrize("view", [lambda t: t, lambda t: t[0], lambda t: t.detach()])
def test_results_in_the_memory_of_the_state_are_copied(view: Any) -> None:
    state = torch.zeros(2, 3)
    other = torch.zeros(2)
    result = apart_from({"held": view(state), "other": (other, 5)}, [state])
    assert result["held"].data_ptr() != state.data_ptr()
    assert result["other"][0] is other
    assert result["other"][1] == 5
