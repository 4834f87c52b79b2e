"""Differences to parameters, and in which forms they are given."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from .array_library import ArrayLibrary, dtype_of
from .manifest import Parameter


def differences(
    state: Mapping[str, Any], parameters: Mapping[str, Parameter], wrong: list[str]
) -> Iterator[tuple[str, Any]]:
    """The differences to parameters in a state dict.

    Args:
        state: Differences by the names of parameters, or the factors of an adapter, whose names end
            in ``.lora_A.weight`` and ``.lora_B.weight``.
        parameters: The parameters of the model, by name.
        wrong: Gets a line for each name that does not fit.

    Yields:
        The name of a parameter and its difference: a tensor, or a pair ``(B, A)`` of factors.
    """
    for name, value in state.items():
        low, _, rest = name.partition(".lora_A.")
        if rest:
            other = f"{low}.lora_B.{rest}"
            if other not in state:
                wrong.append(f"{name}: there is no {other} beside it")
                continue
            name, value = f"{low}.weight", (state[other], value)  # noqa: PLW2901
        elif ".lora_B." in name:
            other = name.replace(".lora_B.", ".lora_A.")
            if other not in state:
                wrong.append(f"{name}: there is no {other} beside it")
            continue
        key = name if name in parameters else name.removeprefix("base_model.model.")
        if key in parameters:
            yield key, value
        else:
            wrong.append(f"{name}: is unknown to the model")


def product(delta: Any, arrays: ArrayLibrary) -> Any:
    """A difference, or the product of a pair ``(B, A)``, in no less than float32.

    Raises:
        TypeError: It is neither, or not of real numbers.
        RuntimeError, ValueError: The shapes of the pair have no product.
    """
    pair = [*map(arrays.taken, delta if isinstance(delta, tuple | list) else (delta,))]
    if len(pair) not in {1, 2} or any(part is None for part in pair):
        plural = f"{arrays.NOUN.split()[1]}s"
        raise TypeError(f"expected {arrays.NOUN}, or a pair (B, A) of {plural}")
    for part in pair:
        if not dtype_of(part).startswith(_REAL):
            raise TypeError(f"has dtype {dtype_of(part)}, expected real numbers")
    wide = [_wide(arrays.on_cpu(part), arrays) for part in pair]
    return wide[0] if len(wide) == 1 else wide[0] @ wide[1]


def _wide(array: Any, arrays: ArrayLibrary) -> Any:
    return array if dtype_of(array) == "float64" else arrays.cast(array, "float32")


_REAL = ("float", "bfloat", "int", "uint", "bool")
"""How the names of dtypes of real numbers begin."""


def finite(scale: Any) -> float:
    """What differences are multiplied by, as a number of Python.

    Raises:
        TypeError: It is no real number.
        ValueError: It is infinite or NaN, or too large.
    """
    from numbers import Real  # which a call does not need

    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise TypeError(f"merge(): scale must be a real number, got {type(scale).__name__}")
    try:
        number = float(scale)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"merge(): scale must be a finite number, got {number}")
    return number
