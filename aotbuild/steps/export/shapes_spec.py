"""Dynamic shapes as a ``ShapesSpec``: torch's notation since 2.14, which supposes nothing of sizes.

torch binds it to the arguments of a method. Here it is told again for the same method, which is
given its tensors flat.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from aotbuild.steps.torch_parts.moved import usable


def is_shapes_spec(given: Any) -> bool:
    """Whether dynamic shapes are told in this notation."""
    return type(given).__name__ in {"ShapesSpec", "ParamsSpec"} and usable("shape specifications")


def flat_spec(
    given: Any,
    method: Callable[..., Any],
    call: tuple[Sequence[Any], Mapping[str, Any]],
    tensors: Sequence[torch.Tensor],
) -> tuple[Any, list[Any]]:
    """The specification of a method that takes its tensors flat.

    Args:
        given: A ``ShapesSpec``, or the ``ParamsSpec`` in it.
        method: The method that it is of.
        call: The arguments of the example, and those that have a keyword.
        tensors: The tensors in it, in the order in which the flat method takes them.

    Returns:
        The specification, and what it says of each tensor.

    Raises:
        TypeError: It tells sizes of something that is no tensor.
    """
    bind = importlib.import_module("torch.fx.experimental._spec_binding")._bind_spec_to_args
    dynamic_spec: Any = importlib.import_module("torch.fx.experimental.dynamic_spec")
    spec = given if isinstance(given, dynamic_spec.ShapesSpec) else dynamic_spec.ShapesSpec(given)
    leaves, values, _ = bind(method, tuple(call[0]), dict(call[1]), spec)
    of_tensors = {}
    for leaf, value in zip(leaves, values, strict=True):
        if isinstance(value, torch.Tensor):
            of_tensors[id(value)] = leaf
        elif isinstance(leaf, torch.SymInt):
            raise TypeError(
                f"{leaf!r} stands for {value!r}: arguments that are no tensors are fixed"
            )
    flat = [of_tensors[id(tensor)] for tensor in tensors]
    params = dynamic_spec.ParamsSpec({"tensors": dynamic_spec.SeqSpec(flat)})
    return dynamic_spec.ShapesSpec(params, assumptions=spec.assumptions), flat


def variable_names(leaf: Any) -> dict[int, str]:
    """The names of the dimensions of a tensor that are variables of a specification."""
    names = {
        axis: str(getattr(size, "name", "anon"))
        for axis, size in enumerate(leaf or ())
        if isinstance(size, torch.SymInt)
    }
    return {axis: name for axis, name in names.items() if name != "anon"}
