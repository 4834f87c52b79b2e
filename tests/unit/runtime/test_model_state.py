"""The memory of a state, without a compiled model."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from aotbuild.runtime.checks import shape_of
from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.errors import StateError
from aotbuild.runtime.holding import Holder
from aotbuild.runtime.manifest import Constant, Input, Manifest, StateBuffer
from aotbuild.runtime.model_state import Layout, ModelState
from aotbuild.runtime.written_inputs import check_written

INITIAL = torch.arange(6.0).reshape(1, 2, 3)


def constant(tensor: torch.Tensor) -> Constant:
    return Constant(
        *("first", "first", "first", "float32"), list(tensor.shape), list(tensor.stride()), 0, 24
    )


def layout(**changes: Any) -> Layout:
    buffers = [
        StateBuffer("first", "float32", ["batch", 2, 3]),
        StateBuffer("keys", "float32", ["batch", Affine("length", 1, 1), 2]),
        StateBuffer("position", "int64", [], {"keys": 1}),
    ]
    manifest: Any = types.SimpleNamespace(
        model="net",
        source="net:Net",
        buffers=buffers,
        initial={"first": constant(INITIAL)},
        dims={"batch": Dim(1, 4), "length": Dim(0, 9), "other": Dim(1, 2)},
        weights=types.SimpleNamespace(sha256="0"),
    )
    vars(manifest).update(changes)
    weights: Any = types.SimpleNamespace(bytes=bytes(INITIAL.numpy().tobytes()))
    return Layout(manifest, weights, lambda: None)


def new(sizes: Mapping[str, int] | None = None) -> ModelState:
    found = layout()
    return ModelState(found, found.sizes(sizes or {"batch": 2, "length": 4}))


def test_buffers_have_their_shapes_and_first_values() -> None:
    state = new()
    assert {name: tuple(state[name].shape) for name in state} == {
        "first": (2, 2, 3),
        "keys": (2, 5, 2),
        "position": (),
    }
    assert torch.equal(state["first"], INITIAL.expand(2, 2, 3))
    assert not state["keys"].any()
    assert all(state[name].data_ptr() % 64 == 0 for name in state)
    assert state.nbytes == 48 + 80 + 8
    assert repr(state) == (
        "<state of net: first: float32[2, 2, 3], keys: float32[2, 5, 2], position: int64[]>"
    )


def test_a_copy_is_another_state_and_reset_begins_anew() -> None:
    state = new()
    state["keys"][:] = 3
    state["position"] = 7
    copied = state.copy()
    state.reset()
    assert torch.equal(state["first"], INITIAL.expand(2, 2, 3))
    assert not state["keys"].any()
    assert int(copied["position"]) == 7
    assert bool((copied["keys"] == 3).all())


def test_entries_of_caches_are_cut() -> None:
    state = new()
    state["keys"][:] = 3
    state["position"] = 4
    state.truncate("keys", 2)
    assert int(state["position"]) == 2
    assert bool((state["keys"][:, :2] == 3).all())
    assert not state["keys"][:, 2:].any()
    with pytest.raises(ValueError, match="has 2 entries, of which 3 cannot stay; pass 0 to 2"):
        state.truncate("pos*", 3)
    with pytest.raises(ValueError, match="no buffer counts the entries of 'first'"):
        state.truncate("first", 0)
    with pytest.raises(KeyError, match="has no buffer 'x'"):
        state.truncate("x", 0)


@pytest.mark.parametrize(
    ("sizes", "error", "said"),
    [
        ({"batch": 2}, TypeError, "missing the size 'length'"),
        ({"batch": 2, "length": 1, "other": 1}, TypeError, "no argument 'other'"),
        ({"batch": 5, "length": 1}, ValueError, "batch is 5, the compiled model takes 1 to 4"),
        ({"batch": 2.0, "length": 1}, TypeError, "batch must be an int, got float"),
    ],
)
def test_wrong_sizes_are_told(sizes: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        new(sizes)


def test_a_state_is_for_one_at_a_time() -> None:
    state = new()
    with state._alone("used"), pytest.raises(StateError, match="cannot be copied while a call"):
        state.copy()
    state.copy()


INPUTS = [Input("x", "float32", ["n", 2], [0, 1]), Input("cache", "float32", [4, 2], [0, 1])]


def manifest(**changes: Any) -> Manifest:
    made: Any = types.SimpleNamespace(
        name="net", inputs=INPUTS, changed=[1], held=(), adds={}, in_spec={}
    )
    vars(made).update(changes)
    found: Manifest = made
    return found


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        (torch.zeros(2, 4).T, "has gaps or another order in memory"),
        (torch.zeros(1, 2).expand(4, 2), "has gaps or another order in memory"),
        (torch.zeros(4, 2, requires_grad=True), "requires gradients"),
        (2.0, "is a float. Pass an array of float32"),
        (memoryview(bytes(32)).cast("f", (4, 2)), "cannot be written to. Pass memoryview"),
    ],
)
def test_what_cannot_be_changed_in_place_is_told(cache: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        check_written(manifest(), [torch.zeros(3, 2), cache])


def test_arguments_that_share_memory_are_told() -> None:
    block = torch.zeros(8, 2)
    with pytest.raises(ValueError, match="shares memory with 'x'"):
        check_written(manifest(), [block[3:5], block[:4]])
    check_written(manifest(), [block[4:6], block[:4]])
    array = block.numpy()
    with pytest.raises(ValueError, match="shares memory with 'x'"):
        check_written(manifest(), [array[3:5], array[:4]])


def test_a_call_has_its_state_alone_and_gives_it_back() -> None:
    found = layout()
    holder = Holder(
        manifest(
            held=("keys", "position"),
            inputs=[*INPUTS, *INPUTS],
            adds={"position": "n"},
            dims=found.dims,
        ),
        found,
    )
    state = ModelState(found, {"batch": 1, "length": 4})
    held = holder.hold(state, torch.zeros(3, 2), torch.zeros(4, 2))
    assert len(held.tensors) == 2
    with pytest.raises(StateError, match="another call is using this state"):
        holder.hold(state, torch.zeros(3, 2), torch.zeros(4, 2))
    held.release()
    state["position"] = 3
    with pytest.raises(StateError, match="'keys' has 3 of 5 entries, and this call adds 3"):
        holder.hold(state, torch.zeros(3, 2), torch.zeros(4, 2))
    held = holder.hold(state, torch.zeros(2, 2), torch.zeros(4, 2))
    held.fail()
    held.release()
    with pytest.raises(StateError, match="left this state half changed"):
        holder.hold(state, torch.zeros(2, 2), torch.zeros(4, 2))


def test_shapes_of_anything() -> None:
    assert shape_of(torch.zeros(2, 3)) == (2, 3)
    assert shape_of(memoryview(bytes(6)).cast("B", (2, 3))) == (2, 3)
    assert shape_of(5) is None
