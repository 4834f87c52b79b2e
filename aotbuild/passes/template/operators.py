"""Definitions of aotbuild's own operators, which exist in a graph only while it is compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

_create: Any = torch.library.Library
_LIBRARY: Any = _create("aotbuild", "DEF")
_LOWERINGS: dict[str, str] = {}


def define(schema: str, eager: Callable[..., Any], fake: Callable[..., Any], lowering: str) -> Any:
    """Define an operator.

    Args:
        schema: As in ``torch.library``.
        eager: What it computes, in plain torch, for a reference.
        fake: What its result is like.
        lowering: The module that tells Inductor how to compile it, imported when that is needed; it
            has a function ``register``.

    Returns:
        The operator, as the target of a node.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, eager, "CompositeExplicitAutograd")
    torch.library.register_fake(f"aotbuild::{name}", fake, lib=_LIBRARY)
    _LOWERINGS[name] = lowering
    return getattr(torch.ops.aotbuild, name).default


def register_lowerings() -> None:
    """Tell Inductor how to compile the operators."""
    for module in dict.fromkeys(_LOWERINGS.values()):
        importlib.import_module(module).register()
