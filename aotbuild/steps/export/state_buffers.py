"""The buffers that a model changes: what it keeps from one call for the next, its state.

They are given to the traced method as tensors of their own, which it changes in place. So a model
has no memory, and whoever calls it holds its state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

Place = tuple[torch.nn.Module, str]
"""A module, and the name of a buffer in it."""


def buffer_places(module: torch.nn.Module) -> dict[str, list[Place]]:
    """The buffers of a module by their first names, each with all places where it is registered."""
    names: dict[int, str] = {}
    places: dict[str, list[Place]] = {}
    for path, part in module.named_modules():
        for key, buffer in part._buffers.items():
            if buffer is not None:
                name = names.setdefault(id(buffer), f"{path}.{key}" if path else key)
                places.setdefault(name, []).append((part, key))
    return places


@contextlib.contextmanager
def given_buffers(
    module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]
) -> Iterator[Callable[[str], torch.Tensor | None]]:
    """Put tensors in the places of buffers, and the buffers back again at the end.

    Args:
        module: The module.
        tensors: By the names of buffers.

    Yields:
        What tells the tensor that is in the place of a buffer now: another one where the module has
        assigned it.
    """
    places = buffer_places(module)
    chosen = {name: places[name] for name in tensors}
    before = {name: part._buffers[key] for name, ((part, key), *_) in chosen.items()}
    for name, several in chosen.items():
        for part, key in several:
            part._buffers[key] = tensors[name]

    def now(name: str) -> torch.Tensor | None:
        current = [part._buffers.get(key) for part, key in chosen[name]]
        return next((each for each in current if each is not tensors[name]), tensors[name])

    try:
        yield now
    finally:
        for name, several in chosen.items():
            for part, key in several:
                part._buffers[key] = before[name]


def apart_from(result: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """A result of which nothing lies in the memory of these tensors: what does is copied."""
    storages = {_storage(tensor) for tensor in tensors}

    def copied(leaf: Any) -> Any:
        held = isinstance(leaf, torch.Tensor) and _storage(leaf) in storages
        return leaf.clone() if held else leaf

    return pytree.tree_map(copied, result)


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


@dataclass(frozen=True)
class Watched:
    """What a call did to the buffers of its module."""

    used: frozenset[str]
    """The names of those that it read or wrote."""
    changed: Mapping[str, torch.Tensor]
    """Those that it changed, by their names, as they were afterwards."""


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives it no types
    """Notes which of some tensors operators are given."""

    def __init__(self, storages: Mapping[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._storages = storages
        self.used: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        for leaf in pytree.arg_tree_leaves(*args, **(kwargs or {})):
            if isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided:
                name = self._storages.get(_storage(leaf))
                if name is not None:
                    self.used.add(name)
        return function(*args, **(kwargs or {}))


def watch(
    module: torch.nn.Module, call: Callable[[], Any], given: Mapping[str, torch.Tensor]
) -> Watched | None:
    """Call a module, and leave it as it was.

    Args:
        module: The module.
        call: Calls it.
        given: What some of its buffers are in the call.

    Returns:
        What the call did to buffers; None where it fails.
    """
    buffers = {
        name: part._buffers[key] for name, ((part, key), *_) in buffer_places(module).items()
    }
    copies = {
        name: given[name].clone() if name in given else buffer.detach().clone()
        for name, buffer in buffers.items()
        if buffer is not None and buffer.layout is torch.strided
    }
    versions = {name: tensor._version for name, tensor in copies.items()}
    uses = _Uses({_storage(tensor): name for name, tensor in copies.items() if tensor.numel()})
    with _attributes_kept(module), given_buffers(module, copies) as now:
        try:
            with torch.random.fork_rng(devices=[]), uses:
                call()
        except (Exception, SystemExit):  # noqa: BLE001  # told where the model is traced
            return None
        after = {name: now(name) for name in copies}
        changed = {
            name: tensor
            for name, tensor in after.items()
            if tensor is not None
            and (tensor is not copies[name] or tensor._version != versions[name])
        }
    return Watched(frozenset(uses.used), changed)


@contextlib.contextmanager
def _attributes_kept(module: torch.nn.Module) -> Iterator[None]:
    """Let modules have the attributes again that they had before, such as what they remember."""
    before = [(part, dict(vars(part)), dict(part._buffers)) for part in module.modules()]
    try:
        yield
    finally:
        for part, attributes, buffers in before:
            vars(part).clear()
            vars(part).update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)
