"""Weights that nobody trained: a class that draws them at random, and no file of weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from aotbuild.config.messages import located
from aotbuild.errors import warn


def warn_untrained(
    module: torch.nn.Module, again: Callable[[], Any], source: str, path: str
) -> None:
    """Warn where two modules made in the same way have different weights.

    A class may load its own weights, or compute them; those are the same each time.

    Args:
        module: What the class returned.
        again: Calls the class once more.
        source: Its declaration.
        path: Dotted path of the model's table.
    """
    others: dict[str, torch.Tensor] = {}
    # A class that cannot be called twice is given the benefit of the doubt.
    with contextlib.suppress(Exception), torch.random.fork_rng(devices=[]):
        others = _weights(again())
    weights = _weights(module)
    differing = [
        name
        for name, tensor in others.items()
        if name in weights and not torch.equal(weights[name], tensor)
    ]
    if differing:
        count = sum(weights[name].numel() for name in differing)
        warn(
            f'the weights of "{source}" are random',
            where=located(f"{path}.weights"),
            why=f"no file of weights is named, and the class draws {count:,} numbers at random, "
            f"as for {differing[0]}",
            fix='add weights = "weights/net.safetensors", the file of a trained state dict, '
            'or weights = "random" if untrained ones are meant',
        )


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor for name, tensor in found if not is_lazy(tensor)}
