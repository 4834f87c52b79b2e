"""The memory of a state, without a compiled model."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from aotbuild.runtime import torch_arrays
from aotbuild.runtime.checkpoint import read_checkpoint
from aotbuild.runtime.checks import shape_of
from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.errors import StateDictError, StateError
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


def test_sizes_without_names_are_told() -> None:
    with pytest.raises(
        TypeError, match=r"new_state\(\) takes sizes by name only: batch=2, length=4"
    ):
        layout().sizes({}, (2, 4))
    with pytest.raises(TypeError, match=r"new_state\(\) takes sizes by name only: length=4"):
        layout().sizes({"batch": 2}, (4,))
    with pytest.raises(TypeError, match=r"new_state\(\) takes no more sizes"):
        layout().sizes({"batch": 2, "length": 4}, (4,))


def test_a_file_that_cannot_be_written_is_told_by_its_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "state", tmp_path):
        with pytest.raises(OSError, match=re.escape(str(path))) as caught:
            new().save(path)
        assert caught.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def edited(data: bytes, **entry: Any) -> bytes:
    """A safetensors file with another entry in its header."""
    start = 8 + int.from_bytes(data[:8], "little")
    text = json.dumps({**json.loads(data[8:start]), **entry}).encode()
    return len(text).to_bytes(8, "little") + text + data[start:]


ENTRY = {"dtype": "F32", "shape": [2, 2, 3], "data_offsets": [0, 48]}
DAMAGED = {
    "metadata": {"__metadata__": [1]},
    "no metadata": {"__metadata__": None},
    "no table": {"first": 7},
    "dtype": {"first": {**ENTRY, "dtype": ["F32"]}},
    "unknown dtype": {"first": {**ENTRY, "dtype": "F31"}},
    "words": {"first": {**ENTRY, "data_offsets": "ab"}},
    "floats": {"first": {**ENTRY, "shape": [2.0, 2, 3]}},
    "negative": {"first": {**ENTRY, "shape": [-2, 2, -3]}},
    "before": {"first": {**ENTRY, "data_offsets": [-48, 0]}},
    "behind": {"first": {**ENTRY, "data_offsets": [9000, 9048]}},
    "short": {"first": {**ENTRY, "data_offsets": [0, 44]}},
}


@pytest.mark.parametrize("entry", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_told(entry: Any, tmp_path: Path) -> None:
    state, path = new(), tmp_path / "state.safetensors"
    state.save(path)
    path.write_bytes(edited(path.read_bytes(), first=ENTRY))
    state.load(path)
    path.write_bytes(edited(path.read_bytes(), **entry))
    with pytest.raises(StateError, match=r"state\.safetensors: is damaged"):
        state.load(path)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff", b"", b"[]"])
def test_a_file_without_a_header_is_told(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(StateError, match="is damaged, or no safetensors file"):
        new().load(path)
    with pytest.raises(StateDictError, match="cannot be read as a state dict"):
        read_checkpoint(path, lambda: torch_arrays)


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


BLOCK = bytearray(128)


def rows(first: int, end: int) -> Any:
    """Rows of two floats in a block that they share."""
    return memoryview(BLOCK)[8 * first : 8 * end].cast("f", (end - first, 2))


@pytest.mark.parametrize(
    ("x", "cache"),
    [
        (rows(3, 5), rows(0, 4)),
        (rows(3, 5).toreadonly(), rows(0, 4)),
        (np.asarray(rows(3, 5)), rows(0, 4)),
        (rows(3, 5), np.asarray(rows(0, 4))),
        (torch.frombuffer(BLOCK, dtype=torch.float32).reshape(-1, 2)[3:5], rows(0, 4)),
        (np.asarray(rows(0, 5))[::-1], rows(0, 4)),
    ],
)
def test_buffers_that_share_memory_are_told(x: Any, cache: Any) -> None:
    with pytest.raises(ValueError, match="shares memory with 'x'"):
        check_written(manifest(), [x, cache])
    check_written(manifest(), [rows(4, 6), cache])


READ_ONLY = bytes(range(32))
PROPOSED: list[tuple[Any, list[int]]] = [
    (memoryview(READ_ONLY).cast("f", (4, 2)), [0, 1]),
    (np.arange(8, dtype="float32").reshape(2, 4).T.data, [0, 1]),
    (np.zeros((4, 4), "float32")[:, ::2].data, [0, 1]),
    (np.zeros((4, 4), "float32")[:, ::2], [0, 1]),
    (np.zeros((4, 2), "float32"), [1, 0]),
    (np.zeros((4, 2), ">f4"), [0, 1]),
    (np.frombuffer(bytearray(33), "float32", 8, 1).reshape(4, 2), [1, 0]),
    (np.frombuffer(READ_ONLY, "float32").reshape(4, 2), [0, 1]),
    (torch.zeros(2, 4).T, [0, 1]),
    (torch.zeros(4, 2), [1, 0]),
    (torch.zeros(4, 2, dtype=torch.complex64).conj(), [0, 1]),
    (torch.zeros(4, 2, requires_grad=True), [0, 1]),
]


@pytest.mark.parametrize(("cache", "order"), PROPOSED)
def test_what_is_proposed_can_be_changed_in_place(cache: Any, order: list[int]) -> None:
    dtype = "complex64" if torch.is_tensor(cache) and cache.is_complex() else "float32"
    found = manifest(inputs=[INPUTS[0], Input("cache", dtype, [4, 2], order)])
    with pytest.raises(ValueError, match="is changed by the call") as caught:
        check_written(found, [torch.zeros(3, 2), cache])
    proposed = str(caught.value).rpartition("Pass ")[2].removesuffix(", and read the change there")
    made = eval(proposed, {"cache": cache, "numpy": np})  # noqa: S307  # as a user would type it
    check_written(found, [torch.zeros(3, 2), made])
    assert np.array_equal(
        np.asarray(made.detach() if torch.is_tensor(made) else made), cache_of(cache)
    )


def cache_of(value: Any) -> Any:
    return value.detach().resolve_conj().numpy() if torch.is_tensor(value) else np.asarray(value)


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
