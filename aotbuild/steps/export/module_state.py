"""The parameters and buffers of a module by their names, whatever its ``state_dict()`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def state_of(module: torch.nn.Module) -> dict[str, Any]:
    """What ``module.state_dict(keep_vars=True)`` gives, or would give were it torch's own.

    Some modules have one that raises, that takes no arguments, or that returns something else than
    tensors by their names.

    Args:
        module: The module; its tensors themselves are returned, and no copies.
    """
    try:
        state: Any = module.state_dict(keep_vars=True)
    except Exception:  # noqa: BLE001  # whatever it raises, the tensors are there
        return _tensors(module)
    return dict(state) if is_state_dict(state) else _tensors(module)


def is_state_dict(value: object) -> bool:
    """Whether a value has tensors by their names, and nothing else but extra state."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and (isinstance(item, torch.Tensor) or name.endswith("_extra_state"))
        for name, item in value.items()
    )


def _tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and the persistent buffers, by all of their names."""
    found: dict[str, torch.Tensor] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        passing = part._non_persistent_buffers_set
        for name, tensor in [*part._parameters.items(), *part._buffers.items()]:
            if tensor is not None and name not in passing:
                found[f"{path}.{name}" if path else name] = tensor
    return found
