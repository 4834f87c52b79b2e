"""The state dicts in a checkpoint, of which a module takes one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from aotbuild.runtime.checkpoint import part_of
from aotbuild.steps.export.module_state import is_state_dict

_DEPTH = 3
"""How deep tables are looked into."""
_TRIED = 3
"""How many names of a module are looked for as the ends of others."""

Takes = Callable[[Mapping[str, Any]], bool]
"""Whether a module takes a state dict."""


def fitting_parts(checkpoint: object, names: Collection[str], takes: Takes) -> list[str]:
    """The keys of the parts of a checkpoint that a module takes; of the whole, it is empty.

    Args:
        checkpoint: What was read of a file.
        names: Of the module's parameters and buffers.
        takes: Whether the module takes a state dict.
    """
    keys = ["", *_tables(checkpoint, _DEPTH), *_prefixes(checkpoint, names)]
    for key in _tables(checkpoint, _DEPTH):
        keys += [f"{key}.{prefix}" for prefix in _prefixes(part_of(checkpoint, key), names)]
    found: list[str] = []
    for key in dict.fromkeys(keys):
        if any(not whole or key.startswith(f"{whole}.") for whole in found):
            continue
        part = part_of(checkpoint, key)
        if part and is_state_dict(part) and takes(part):
            found.append(key)
    return found


def likely_part(checkpoint: object, names: Collection[str]) -> str:
    """The key of the state dict with the most names of a module; empty where there is none."""
    tables = [key for key in _tables(checkpoint, _DEPTH) if _is_filled(part_of(checkpoint, key))]
    return max(
        tables, key=lambda key: len(set(part_of(checkpoint, key) or ()) & set(names)), default=""
    )


def tables_in(checkpoint: object) -> list[str]:
    """The keys of the tables that a checkpoint has."""
    return list(_tables(checkpoint, 1))


def _is_filled(table: object) -> bool:
    return bool(table) and is_state_dict(table)


def _tables(checkpoint: object, depth: int) -> Iterator[str]:
    if not depth or not isinstance(checkpoint, Mapping):
        return
    for name, value in checkpoint.items():
        if isinstance(name, str) and isinstance(value, Mapping):
            yield name
            yield from (f"{name}.{key}" for key in _tables(value, depth - 1))


def _prefixes(state: object, names: Collection[str]) -> list[str]:
    """What stands before names of the module in the names of a state dict."""
    if not is_state_dict(state):
        return []
    assert isinstance(state, Mapping)  # noqa: S101
    wanted = sorted(names, key=len)[-_TRIED:]
    return list(
        dict.fromkeys(
            name.removesuffix(f".{end}")
            for end in wanted
            for name in state
            if name.endswith(f".{end}")
        )
    )
