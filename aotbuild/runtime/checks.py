"""Checks of a call that torch's tensors and all other arrays have in common."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from .dims import Affine, Dim, Size
from .lazy import torch
from .manifest import Input, Manifest

_LARGEST = {
    "float16": 65504.0,
    "bfloat16": float.fromhex("0x1.fep127"),
    "float32": float.fromhex("0x1.fffffep127"),
    "float64": float.fromhex("0x1.fffffffffffffp1023"),
}
"""The largest finite number of each dtype."""


def label_of(manifest: Manifest, spec: Input) -> str:
    """How messages about an argument begin."""
    return f"{manifest.name}(): argument {spec.name!r}"


def kind_of(value: Any) -> str:
    """The type of a value, as messages name it."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def shape_of(value: Any) -> tuple[int, ...] | None:
    """The shape of an array of any library; None where it has none."""
    try:
        shape: Any = value.shape if hasattr(value, "shape") else memoryview(value).shape
        return tuple(map(int, shape))
    except TypeError:
        return None


def is_masked(value: Any) -> bool:
    """Whether a value is one of numpy's masked arrays."""
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    return masked is not None and isinstance(value, masked)


def shown(shape: Sequence[Size]) -> str:
    """A shape as a tuple, with the names of its dimensions."""
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def number_types(spec: Input) -> tuple[type[Any], ...]:
    """The types of numbers that stand for a tensor of this input, the usual one first."""
    if spec.shape or spec.dtype.startswith("complex"):
        return ()
    if spec.dtype == "bool":
        return (bool,)
    return (int,) if spec.dtype.startswith(("int", "uint")) else (float, int)


def check_number(label: str, spec: Input, value: Any) -> None:
    """Make sure that the dtype of an input holds a number.

    Args:
        label: The input, as messages name it.
        spec: The input.
        value: A Python number. Infinity and NaN are held by every float dtype.

    Raises:
        ValueError: It is outside the dtype's range.
    """
    if type(value) is bool or (type(value) is float and not math.isfinite(value)):
        return
    lowest, highest = _limits(spec.dtype)
    if not lowest <= value <= highest:
        raise ValueError(
            f"{label} has dtype {spec.dtype}, which holds {lowest} to {highest}, "
            f"got {value if type(value) is float else _digits(value)}"
        )


def _limits(dtype: str) -> tuple[Any, Any]:
    """The lowest and the highest finite number of a dtype."""
    if dtype.startswith(("int", "uint")):
        bits = int(dtype.lstrip("uint"))
        return (
            (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
    largest = _LARGEST.get(dtype)
    if largest is None:
        largest = torch.finfo(getattr(torch, dtype)).max
    return -largest, largest


def _digits(value: int) -> str:
    """An integer in digits, if it has not too many of them."""
    return str(value) if value.bit_length() <= 128 else f"a number of {value.bit_length()} bits"


def check_shape(
    label: str,
    spec: Input,
    shape: tuple[int, ...],
    dims: dict[str, Dim],
    sizes: dict[str, tuple[int, str]],
) -> None:
    """Make sure of the sizes of an argument.

    Args:
        label: How messages begin.
        spec: What is expected.
        shape: What it has.
        dims: The dimensions by name.
        sizes: For each dimension that is known the size, and the argument that it is from; those
            of this argument are added.

    Raises:
        ValueError: A size does not fit.
    """
    expected = shown(spec.shape)
    if len(shape) != len(spec.shape):
        raise ValueError(
            f"{label} must have {len(spec.shape)} dimensions, {expected}, got {len(shape)}: "
            f"shape {shape}"
        )
    for i, (size, want) in enumerate(zip(shape, spec.shape, strict=True)):
        if isinstance(want, int):
            if size != want:
                raise ValueError(
                    f"{label} must have shape {expected}, got {shape}: "
                    f"dimension {i} must be {want}, not {size}"
                )
            continue
        affine = Affine.of(want)
        name, value = affine.dim, affine.solve(size)
        if value is None:
            raise ValueError(
                f"{label} has shape {shape}, expected {expected}: "
                f"dimension {i} is {size}, which is {want} for no {name}"
            )
        problem = f"{label} has shape {shape}, expected {expected}: {name} is {value}"
        if value not in dims[name]:
            raise ValueError(f"{problem}, the compiled model takes {dims[name]}")
        first, owner = sizes.setdefault(name, (value, spec.name))
        if value != first:
            raise ValueError(f"{problem}, but {first} in {owner!r}")


def check_conditions(manifest: Manifest, sizes: dict[str, int]) -> None:
    """Make sure of what must hold between the sizes of dimensions.

    Raises:
        ValueError: It does not.
    """
    if not manifest.conditions:
        return
    from .conditions import holds  # few models have any, and imports take time

    for condition in manifest.conditions:
        if not holds(condition, sizes):
            raise refuse_condition(manifest, condition)


def refuse_condition(manifest: Manifest, condition: str) -> ValueError:
    """The error for sizes that a condition of the compiled code excludes."""
    names = " and ".join(sorted(manifest.dims))
    return ValueError(
        f"{manifest.name}(): the sizes of {names} do not fit the compiled code, "
        f"which needs {condition}. Call it with other sizes"
    )
