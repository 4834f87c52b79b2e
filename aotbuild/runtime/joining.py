"""Joining: several requests as one call of a model, and its outputs split again.

Tensors of torch, arrays of numpy, those of the array API and the engine's own are joined and split
alike; nothing of them is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import engine_arrays
from .arrays import namespace_of
from .checks import shown
from .dims import Affine
from .lazy import is_tensor, torch
from .manifest import Input, Manifest

Values = Sequence[Any]
"""A tensor for each input of a model, as the compiled code reads it."""


@dataclass(frozen=True)
class Joining:
    """Where the inputs and outputs of a model have the dimension that requests are joined along."""

    dim: str
    inputs: tuple[tuple[int, tuple[int, ...]], ...]
    """For each input the axis, and its stride order; an empty one where that is the usual one."""
    outputs: dict[int, int]
    """The axis of each output, by its position among those of the library."""
    others: tuple[tuple[int, int], ...]
    """Input and axis of the sizes that requests must have in common."""
    devices: bool
    """Whether requests may be on different devices."""
    changed: tuple[int, ...] = ()
    """The inputs that a call changes in place, such as the states of the requests."""

    def rows(self, values: Values) -> int:
        """How much of the dimension a request has."""
        size: int = values[0].shape[self.inputs[0][0]]
        return size

    def kind(self, values: Values) -> Any:
        """What requests have in common that can be joined."""
        first = values[0]
        if not self.others and not self.devices:
            return type(first)
        sizes = tuple([values[i].shape[axis] for i, axis in self.others])
        return (type(first), getattr(first, "device", None) if self.devices else None, sizes)

    def join(self, requests: Sequence[Values]) -> list[Any]:
        """The inputs of one call for several requests."""
        return [
            _joined([values[i] for values in requests], axis, order)
            for i, (axis, order) in enumerate(self.inputs)
        ]

    def write_back(self, joined: Values, requests: Sequence[Values], rows: Sequence[int]) -> None:
        """Let each request's own inputs have what the call made of the joined ones.

        Args:
            joined: The inputs of the call.
            requests: The inputs of the requests.
            rows: How much of the dimension each has.
        """
        for i in self.changed:
            pieces = _pieces(joined[i], self.inputs[i][0], rows)
            for values, piece in zip(requests, pieces, strict=True):
                if engine_arrays.is_array(piece):
                    engine_arrays.flat(values[i])[:] = engine_arrays.flat(piece)
                else:
                    values[i][...] = piece

    def split(self, outputs: Values, rows: Sequence[int]) -> list[list[Any]]:
        """The outputs for each request, in memory of their own."""
        results: list[list[Any]] = [[None] * len(outputs) for _ in rows]
        for i, axis in self.outputs.items():
            for result, piece in zip(results, _pieces(outputs[i], axis, rows), strict=True):
                result[i] = piece
        return results


def joining(manifest: Manifest, dim: str | None) -> Joining:
    """Find how requests for a model can be joined.

    Args:
        manifest: The model.
        dim: The dimension to join along; that which all inputs begin with when None.

    Raises:
        ValueError: The model has no such dimension, or its results could not be split.
    """
    name = f"{manifest.name}.batched()"
    dim = _dimension(name, manifest, dim)
    axes = [_axis(name, f"argument {spec.name!r}", spec.shape, dim) for spec in manifest.inputs]
    for condition in manifest.conditions:
        if re.search(rf"\b{dim}\b", condition):
            raise ValueError(
                f"{name}: the compiled code needs {condition}, which requests that have it may "
                "not have together. Call the model itself"
            )
    outputs = {
        leaf["index"]: _axis(name, label, leaf["shape"], dim)
        for label, leaf in _computed(name, "the result", manifest.outputs)
    }
    return Joining(
        dim,
        tuple(
            (axis, () if spec.order == sorted(spec.order) else tuple(spec.order))
            for spec, axis in zip(manifest.inputs, axes, strict=True)
        ),
        outputs,
        tuple(_others(manifest.inputs, dim)),
        manifest.devices != ["cpu"],
        tuple(manifest.changed),
    )


def _dimension(name: str, manifest: Manifest, dim: str | None) -> str:
    if dim is not None:
        if dim not in manifest.dims:
            known = ", ".join(map(repr, sorted(manifest.dims))) or "none, as all sizes are fixed"
            raise ValueError(f"{name}: dim is {dim!r}, the dimensions of the model are: {known}")
        return dim
    if not manifest.dims:
        raise ValueError(
            f"{name}: all sizes of the model are fixed, and its requests cannot share a call. "
            "Declare a dynamic dimension, such as dims.batch = { max = 64 }, and build it again"
        )
    given = manifest.inputs[: len(manifest.inputs) - len(manifest.held)]
    leading = {spec.shape[0] if spec.shape else 1 for spec in given}
    (first, *more) = leading
    if more or not isinstance(first, str):
        shapes = ", ".join(f"{spec.name!r} is {shown(spec.shape)}" for spec in given)
        raise ValueError(
            f"{name}: the inputs do not all begin with the same dynamic dimension: {shapes}. Name "
            "one that all of them have: dim=..."
        )
    return first


def _axis(name: str, what: str, shape: Sequence[Any], dim: str) -> int:
    """Which axis is the dimension; it must be there once, and nothing else may follow from it."""
    axes = [axis for axis, size in enumerate(shape) if _mentions(size, dim)]
    if len(axes) == 1 and shape[axes[0]] == dim:
        return axes[0]
    has = "has no" if not axes else "does not have just one"
    raise ValueError(
        f"{name}: {what} of shape {shown(shape)} {has} dimension {dim}, so that requests cannot "
        "share a call. Call the model itself"
    )


def _mentions(size: Any, dim: str) -> bool:
    """Whether a size is a dimension or follows from it."""
    if isinstance(size, Affine):
        return size.dim == dim
    return isinstance(size, str) and re.search(rf"\b{dim}\b", size) is not None


def _computed(name: str, label: str, tree: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tensors in a result, without those that are inputs, which each request gets back."""
    kind = tree["type"]
    if kind == "tensor" and "input" not in tree:
        yield label, tree
    elif kind == "int":
        raise ValueError(
            f"{name}: {label} is a number that is computed from sizes, so that requests cannot "
            "share a call. Call the model itself"
        )
    items = tree.get("items", [])
    keys = tree.get("keys") or tree.get("fields") or range(len(items))
    for key, item in zip(keys, items, strict=True):
        yield from _computed(name, f"{label}[{key!r}]", item)


def _others(inputs: Sequence[Input], dim: str) -> Iterator[tuple[int, int]]:
    """Where the other dimensions are, each once."""
    seen = {dim}
    for i, spec in enumerate(inputs):
        for axis, size in enumerate(spec.shape):
            name = "" if isinstance(size, int) else Affine.of(size).dim
            if name and name not in seen:
                seen.add(name)
                yield i, axis


def _joined(parts: list[Any], axis: int, order: tuple[int, ...]) -> Any:
    first = parts[0]
    if engine_arrays.is_array(first):
        return engine_arrays.concat(parts, axis)  # the call gives it its order
    if not is_tensor(first):
        namespace = namespace_of(first)
        concat = getattr(namespace, "concat", None) or namespace.concatenate
        return concat(parts, axis=axis)
    if not order:
        return torch.cat(parts, axis)
    # In memory the dimensions are in this order, and so they shall be in the whole.
    whole = torch.cat([part.permute(order) for part in parts], order.index(axis))
    return whole.permute([order.index(i) for i in range(len(order))])


def _pieces(whole: Any, axis: int, rows: Sequence[int]) -> list[Any]:
    """What belongs to each request, copied.

    A view would keep all of the memory for as long as one result is there, save all of it with
    one, and share the count of changes that autograd looks at.
    """
    if is_tensor(whole):
        if whole.is_contiguous():
            copies: Any = torch.split_with_sizes_copy  # its stub says that it returns nothing
            parts: list[Any] = list(copies(whole, list(rows), axis))
            return parts
        return [piece.clone() for piece in whole.split(list(rows), axis)]
    if engine_arrays.is_array(whole):
        return engine_arrays.split(whole, axis, rows)
    pieces = []
    start = 0
    for count in rows:
        piece = whole[(slice(None),) * axis + (slice(start, start + count),)]
        start += count
        copied = hasattr(piece, "copy")
        pieces.append(piece.copy() if copied else namespace_of(whole).asarray(piece, copy=True))
    return pieces
