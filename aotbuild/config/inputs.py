"""Declared inputs as trees: tensors and constants, nested in arrays and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from aotbuild.config.schema import Call, ConstantInput, Input, Model, TensorInput
from aotbuild.config.sizes import parse_size


def constant_value(spec: ConstantInput) -> Any:
    """The value that a constant input has."""
    return None if spec.none else spec.value


def tensor_leaves(tree: Input, label: str) -> Iterator[tuple[str, TensorInput]]:
    """The tensors of an input, in order, each with the expression that picks it.

    Args:
        tree: The declared input.
        label: Name of the parameter; the leaves are told as ``state[0]["hidden"]``.
    """
    if isinstance(tree, TensorInput):
        yield label, tree
    elif isinstance(tree, list):
        for i, item in enumerate(tree):
            yield from tensor_leaves(item, f"{label}[{i}]")
    elif isinstance(tree, dict):
        for key, item in tree.items():
            yield from tensor_leaves(item, f'{label}["{key}"]')


def map_tensors(tree: Input, make: Callable[[TensorInput], Any]) -> Any:
    """The Python value of an input, with ``make(spec)`` for each tensor.

    Args:
        tree: The declared input; arrays become tuples.
        make: Called for the tensors in their order.
    """
    if isinstance(tree, TensorInput):
        return make(tree)
    if isinstance(tree, ConstantInput):
        return constant_value(tree)
    if isinstance(tree, list):
        return tuple(map_tensors(item, make) for item in tree)
    return {key: map_tensors(item, make) for key, item in tree.items()}


def named_dims(call: Call) -> set[str]:
    """The dimensions that the shapes of a call name."""
    return _dims_of(
        size
        for name, tree in call.inputs.items()
        for _, spec in tensor_leaves(tree, name)
        for size in spec.shape
    )


def state_dims(model: Model) -> set[str]:
    """The dimensions that the shapes of a model's state name."""
    return _dims_of(size for spec in model.state.values() for size in spec.shape or ())


def _dims_of(sizes: Iterable[int | str]) -> set[str]:
    parsed = (parse_size(size) for size in sizes if isinstance(size, str))
    return {size.dim for size in parsed if size is not None}
