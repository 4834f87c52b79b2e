"""Arrays of the engine: what is done with them where there is no library of arrays.

They have a shape, a dtype, items and memory, and are what calls with plain buffers return.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from .machine import DLPACK_DTYPES, engine_module

FORMATS = {
    **dict(zip(("int8", "int16", "int32", "int64"), "bhiq", strict=True)),
    **dict(zip(("uint8", "uint16", "uint32", "uint64"), "BHIQ", strict=True)),
    **dict(zip(("float16", "float32", "float64"), "efd", strict=True)),
    "bool": "?",
    "complex64": "Zf",
    "complex128": "Zd",
}
"""Formats of buffers by the names of dtypes; there is none for bfloat16."""


def is_array(value: Any) -> bool:
    """Whether a value is an array of the engine."""
    return type(value) is getattr(engine_module(), "Array", None)


def over(
    memory: Any, dtype: str, shape: Sequence[int], offset: int = 0, order: Sequence[int] = ()
) -> Any:
    """The array of the engine over bytes that lie in a buffer without gaps.

    Args:
        memory: The buffer; the array keeps it alive.
        dtype: The name of its dtype.
        shape: Its sizes.
        offset: Where in the buffer it begins, in bytes.
        order: The dimensions as they lie in memory, the outermost first; the usual order when
            empty.
    """
    strides = [1] * len(shape)
    step = 1
    for i in reversed(order or range(len(shape))):
        strides[i] = step
        step *= shape[i]
    place = DLPACK_DTYPES[dtype], tuple(shape), tuple(strides), offset
    return engine_module().view(memory, *place)


def view_of(value: Any) -> memoryview:
    """The buffer of a value; an array for whose dtype buffers have no word is seen as integers.

    Raises:
        TypeError: It has no buffer.
    """
    try:
        return memoryview(value)
    except BufferError:
        return memoryview(value.bits())


def flat(value: Any) -> memoryview:
    """The bytes of a buffer in the usual order.

    They are its memory, where they lie so and may be written to, and a copy elsewhere.
    """
    view = view_of(value)
    if view.readonly or not view.c_contiguous:
        return memoryview(view.tobytes())
    try:
        return view.cast("B")
    except TypeError:  # it takes neither all formats nor what has no elements
        return memoryview(over(view, "uint8", [view.nbytes]))


def shape_of_numbers(value: Any, numbers: list[Any]) -> tuple[int, ...] | None:
    """The shape of a number, or of numbers in lists; None of anything else.

    Args:
        value: The value.
        numbers: Where the numbers are added.
    """
    if isinstance(value, bool | int | float | complex):
        numbers.append(value)
        return ()
    if not isinstance(value, list | tuple):
        return None
    shapes = {shape_of_numbers(part, numbers) for part in value} or {()}
    shape = shapes.pop()
    return None if shapes or shape is None else (len(value), *shape)


def packed(dtype: str, numbers: Sequence[Any]) -> bytes:
    """Numbers as they are in memory.

    Args:
        dtype: The name of their dtype, which holds them.
        numbers: The numbers.
    """
    if dtype.startswith("complex"):
        parts = [part for n in map(complex, numbers) for part in (n.real, n.imag)]
        return packed("float32" if dtype == "complex64" else "float64", parts)
    if dtype != "bfloat16":
        return struct.pack(f"={len(numbers)}{FORMATS[dtype]}", *numbers)
    # The upper half of a float32, rounded to the nearest, of two the even one.
    halves = []
    for (bits,) in struct.iter_unpack("=I", packed("float32", numbers)):
        infinite = bits & 0x7F800000 == 0x7F800000  # or NaN
        halves.append(bits >> 16 if infinite else bits + 0x7FFF + (bits >> 16 & 1) >> 16)
    return struct.pack(f"={len(halves)}H", *halves)


def step_of(array: Any, step: int) -> Any:
    """A part of an array along its first axis, over its memory, which has no gaps."""
    view = view_of(array)
    return over(view, array.dtype, array.shape[1:], view.nbytes // array.shape[0] * step)


def stack(arrays: Sequence[Any]) -> Any:
    """Arrays of one shape as one, with an axis of them before their own."""
    memory = bytearray().join(map(flat, arrays))
    return over(memory, arrays[0].dtype, [len(arrays), *arrays[0].shape])


def concat(arrays: Sequence[Any], axis: int) -> Any:
    """Arrays behind one another along an axis, in the usual order."""
    shape = list(arrays[0].shape)
    outer = math.prod(shape[:axis])
    parts = [(data, len(data) // (outer or 1)) for data in map(flat, arrays)]
    shape[axis] = sum(array.shape[axis] for array in arrays)
    memory = bytearray().join(
        data[i * width : (i + 1) * width] for i in range(outer) for data, width in parts
    )
    return over(memory, arrays[0].dtype, shape)


def split(array: Any, axis: int, rows: Sequence[int]) -> list[Any]:
    """Copies of the parts of an array along an axis.

    Args:
        array: The array.
        axis: The axis.
        rows: How much of it each part has, all of it together.
    """
    data, shape = flat(array), list(array.shape)
    outer = math.prod(shape[:axis])
    row = len(data) // (outer * shape[axis] or 1)
    parts, start = [], 0
    for count in rows:
        places = [(i * shape[axis] + start) * row for i in range(outer)]
        memory = bytearray().join(data[place : place + count * row] for place in places)
        parts.append(over(memory, array.dtype, [*shape[:axis], count, *shape[axis + 1 :]]))
        start += count
    return parts
