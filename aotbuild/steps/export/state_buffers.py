"""The buffers that a model changes: what it keeps from one call for the next, its state.

They are given to the traced method as tensors of their own, which it changes in place. So a model
has no memory, and whoever calls it holds its state.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

Place = tuple[Any, Any]
"""What holds a buffer, a dict or a list, and the key in it."""


def buffer_places(module: torch.nn.Module) -> dict[str, list[Place]]:
    """The buffers of a module by their first names, each with all places where it is held.

    Besides where it is registered, these are attributes of plain objects, lists and dicts: the
    layers of a cache of transformers hold the tensors that a module registers. Buffers of modules
    of TorchScript, and those that are more than their bytes, such as quantised ones, are left out.
    """
    names: dict[int, str] = {}
    places: dict[str, list[Place]] = {}
    for path, part in module.named_modules():
        own = part._buffers if isinstance(part._buffers, dict) else {}
        for key, buffer in own.items():
            if type(buffer) is torch.Tensor and buffer.layout is torch.strided:
                name = names.setdefault(id(buffer), f"{path}.{key}" if path else key)
                places.setdefault(name, []).append((part._buffers, key))
    if names:
        seen: set[int] = set()
        for part in module.modules():
            for key, value in vars(part).items():
                if key not in _TABLES:
                    _add_places(vars(part), key, value, names, places, seen)
    return places


_TABLES = ("_buffers", "_parameters", "_modules")


def _add_places(
    holder: Any,
    key: Any,
    value: Any,
    names: Mapping[int, str],
    places: dict[str, list[Place]],
    seen: set[int],
) -> None:
    """Add the places in an attribute where buffers are held.

    Args:
        holder: What has the attribute, a dict or a list.
        key: The key in it.
        value: The attribute.
        names: The names of buffers, by their identity.
        places: What is added to.
        seen: The objects that were looked into, by their identity.
    """
    if isinstance(value, torch.Tensor):
        name = names.get(id(value))
        if name is not None:
            places[name].append((holder, key))
        return
    if id(value) in seen or isinstance(value, torch.nn.Module | type | types.ModuleType):
        return
    seen.add(id(value))
    if isinstance(value, list | dict):
        items = list(enumerate(value) if isinstance(value, list) else value.items())
        for inner, each in items:
            _add_places(value, inner, each, names, places, seen)
    elif not callable(value) and isinstance(getattr(value, "__dict__", None), dict):
        for inner, each in list(vars(value).items()):
            _add_places(vars(value), inner, each, names, places, seen)


@contextlib.contextmanager
def given_buffers(
    places: Mapping[str, Sequence[Place]], tensors: Mapping[str, torch.Tensor]
) -> Iterator[Callable[[str], torch.Tensor | None]]:
    """Put tensors in the places of buffers, and what was there back again at the end.

    Args:
        places: The places of each buffer. They were found before: in a trace, only those where a
            buffer is registered hold it.
        tensors: By the names of buffers.

    Yields:
        What tells the tensor that is in the place of a buffer now: another one where the module has
        assigned it.
    """
    chosen = [(name, holder, key) for name in tensors for holder, key in places[name]]
    before = [holder[key] for _, holder, key in chosen]
    for name, holder, key in chosen:
        holder[key] = tensors[name]

    def now(name: str) -> torch.Tensor | None:
        current = [_held(holder, key) for holder, key in places[name]]
        return next((each for each in current if each is not tensors[name]), tensors[name])

    try:
        yield now
    finally:
        for (_, holder, key), value in zip(chosen, before, strict=True):
            holder[key] = value


def _held(holder: Any, key: Any) -> torch.Tensor | None:
    """What is held in a place; None where the place is gone."""
    try:
        found: torch.Tensor | None = holder[key]
    except (KeyError, IndexError):
        return None
    return found


def apart_from(result: Any, tensors: Sequence[torch.Tensor]) -> Any:
    """A result of which nothing lies in the memory of these tensors: what does is copied."""
    storages = {_storage(tensor) for tensor in tensors}

    def copied(leaf: Any) -> Any:
        held = isinstance(leaf, torch.Tensor) and _storage(leaf) in storages
        return leaf.clone() if held else leaf

    leaves, spec = pytree.tree_flatten(result)
    return pytree.tree_unflatten([copied(leaf) for leaf in leaves], spec)


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
        for leaf in pytree.tree_leaves((args, kwargs or {})):
            if type(leaf) is torch.Tensor and leaf.layout is torch.strided:
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
    places = buffer_places(module)
    buffers = {name: holder[key] for name, ((holder, key), *_) in places.items()}
    copies = {
        name: given[name].clone() if name in given else buffer.detach().clone()
        for name, buffer in buffers.items()
    }
    versions = {name: tensor._version for name, tensor in copies.items()}
    uses = _Uses({_storage(tensor): name for name, tensor in copies.items() if tensor.numel()})
    with _attributes_kept(module), given_buffers(places, copies) as now:
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
    before = [
        (part, dict(vars(part)), dict(part._buffers))
        for part in module.modules()
        if isinstance(part._buffers, dict)
    ]
    try:
        yield
    finally:
        for part, attributes, buffers in before:
            vars(part).clear()
            vars(part).update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)
