"""What a compiled model takes and returns, as users read it: ``net.inputs`` and ``net.outputs``."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from .dims import Size
from .manifest import Manifest


@dataclass(frozen=True, repr=False)
class TensorSpec:
    """A tensor that a model takes or returns; it is shown as ``float32[batch, 3]``."""

    dtype: str
    """Name of the dtype, such as ``float32``."""
    shape: tuple[Size, ...]
    """Sizes: numbers, names of dimensions, and what follows from dimensions."""

    def __repr__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def describe_inputs(manifest: Manifest) -> dict[str, Any]:
    """What a model takes, by the names of its parameters.

    Args:
        manifest: The model.

    Returns:
        A ``TensorSpec`` for each tensor, in tuples, lists and dicts as a call gives them; a
        constant for what is always the same.
    """
    names, trees = manifest.in_spec["keys"], manifest.in_spec["items"]
    return {name: _input(manifest, tree) for name, tree in zip(names, trees, strict=True)}


def describe_outputs(manifest: Manifest) -> Any:
    """What a model returns: as the result of a call, with a ``TensorSpec`` for each tensor.

    A number that depends on sizes is ``int``; an object or a namedtuple is a dict of its fields.
    """
    return _output(manifest.outputs)


def _input(manifest: Manifest, tree: dict[str, Any]) -> Any:
    if tree["type"] == "tensor":
        spec = manifest.inputs[tree["index"]]
        return TensorSpec(spec.dtype, tuple(spec.shape))
    if tree["type"] == "constant":
        return tree["value"]
    return _nested(tree, [_input(manifest, item) for item in tree["items"]])


def _output(tree: dict[str, Any]) -> Any:
    if tree["type"] == "tensor":
        return TensorSpec(tree["dtype"], tuple(tree["shape"]))
    if tree["type"] == "constant":
        return tree["value"]
    if tree["type"] == "int":
        return int
    return _nested(tree, [_output(item) for item in tree["items"]])


def _nested(tree: dict[str, Any], items: list[Any]) -> Any:
    kind = tree["type"]
    if kind == "list":
        return items
    if kind == "tuple":
        return tuple(items)
    pairs = dict(zip(tree.get("keys") or tree.get("fields") or (), items, strict=True))
    return OrderedDict(pairs) if kind == "OrderedDict" else pairs
