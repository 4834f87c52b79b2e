"""Definitions of aotbuild's own operators, which exist in a graph only while it is compiled."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import Any

import torch

_create: Any = torch.library.Library
_LIBRARY: Any = _create("aotbuild", "DEF")
_OPERATORS: list[str] = []
"""The modules that define operators."""


def define(schema: str, eager: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """Define an operator, in a module named ``operator`` or ``*_operator``.

    The module beside it named ``lowering``, or ``*_lowering``, tells Inductor how to compile it: it
    has a function ``register``. It imports Inductor, so it is imported only when that is needed.

    Args:
        schema: As in ``torch.library``.
        eager: What it computes, in plain torch, for a reference.
        fake: Gives a tensor with the shape, type and strides of the result, without computing it.

    Returns:
        The operator, as the target of a node.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, eager, "CompositeExplicitAutograd")
    torch.library.register_fake(f"aotbuild::{name}", fake, lib=_LIBRARY)
    _OPERATORS.append(eager.__module__)
    return getattr(torch.ops.aotbuild, name).default


def register_lowerings(without: Collection[str] = ()) -> None:
    """Tell Inductor how to compile the operators.

    Args:
        without: Passes whose operators are in no graph, since torch lacks what they need: those of
            a folder, or of a module ``<pass>_operator``.
    """
    for module in dict.fromkeys(_OPERATORS):
        _, folder, name = module.rsplit(".", 2)
        if (name.removesuffix("operator").removesuffix("_") or folder) in without:
            continue
        importlib.import_module(f"{module.removesuffix('operator')}lowering").register()
