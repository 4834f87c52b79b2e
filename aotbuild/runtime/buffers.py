"""Arrays where no library of arrays is: whatever has Python's buffer protocol.

Such as ``array.array``, ``memoryview``, and images that tell their pixels by
``__array_interface__``. Results are arrays of the engine, which have ``shape``, ``dtype``,
``tolist()``, the buffer protocol and DLPack. This module has what ``arrays`` needs of any library.
"""

from __future__ import annotations

import importlib.util
import math
import struct
import sys
from collections.abc import Sequence
from typing import Any

from .machine import DLPACK_DTYPES, engine_module
from .numpy_dtypes import dtype_named

__all__ = [
    "FORMATS",
    "Buffer",
    "as_buffer",
    "as_short_floats",
    "asarray",
    "capsule_of",
    "concat",
    "conversion",
    "flat",
    "is_array",
    "over",
    "short_floats",
    "split",
    "stack",
    "step_of",
]

_DTYPES = {
    **dict(zip("bhiq", ("int8", "int16", "int32", "int64"), strict=True)),
    **dict(zip("BHIQ", ("uint8", "uint16", "uint32", "uint64"), strict=True)),
    **dict(zip("efd", ("float16", "float32", "float64"), strict=True)),
    "?": "bool",
    "Zf": "complex64",
    "Zd": "complex128",
    "l": "int64",
    "L": "uint64",
}
"""Names of dtypes by the formats of buffers."""
FORMATS = {name: format_ for format_, name in _DTYPES.items() if format_ not in {"l", "L"}}


_OTHER_ORDER = {">", "!"} if sys.byteorder == "little" else {"<"}
"""How formats begin whose bytes are in another order than this machine's."""


class Buffer:
    """A buffer with its dtype and shape."""

    def __init__(self, view: Any) -> None:
        self.view = view
        self.shape = view.shape
        if not isinstance(view, memoryview):  # an array of the engine, of any dtype
            self.dtype = view.dtype
            return
        form = view.format.lstrip("@=<")
        self.dtype = _DTYPES.get(form, f'one of format "{view.format}"')
        if form in {"l", "L"} and view.itemsize == 4:
            self.dtype = self.dtype.replace("64", "32")

    def laid_out(self, order: list[int]) -> Any:
        """An array whose dimensions lie in memory in an order, the outermost first.

        It lies over the memory of the buffer where that is so and may be written to, and is a copy
        elsewhere.
        """
        view, usual = self.view, order == sorted(order)
        if not isinstance(view, memoryview):
            return view if usual and _words(view).c_contiguous else self._moved(order)
        known = self.dtype in DLPACK_DTYPES and view.format[:1] not in _OTHER_ORDER
        if known and usual and not view.readonly and view.c_contiguous:
            return over(view, self.dtype, self.shape)
        return engine_module().laid_out(view, tuple(order))

    def _moved(self, order: list[int]) -> Any:
        """A copy in an order, of what buffers have no word for."""
        inverse = [order.index(i) for i in range(len(order))]
        sizes = [self.shape[i] for i in order]
        words = over(flat(self.view), _words_of(self.dtype), sizes, order=inverse)
        return over(bytearray(memoryview(words).tobytes()), self.dtype, self.shape, order=order)


def as_buffer(value: Any) -> Any:
    """The memory of a value, with its shape; None where it has none that can be read."""
    if isinstance(value, Buffer):
        return value.view
    try:
        return memoryview(value)
    except BufferError:  # an array of the engine, of a dtype that buffers have no word for
        return value
    except TypeError:
        return _of_dlpack(value) if hasattr(type(value), "__dlpack__") else _of_interface(value)


def capsule_of(value: Any) -> Any:
    """What ``__dlpack__()`` gives, in a version that the engine reads."""
    try:
        return value.__dlpack__(max_version=(1, 0))
    except TypeError:  # it is older than versions
        return value.__dlpack__()


def _of_dlpack(value: Any) -> Any:
    """The memory of what has no library of arrays around it, as a column of a table."""
    try:
        array = engine_module().from_capsule(capsule_of(value))
    except Exception:  # noqa: BLE001  # of any library
        return None
    try:
        return memoryview(array)
    except BufferError:
        return array


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


def _words(array: Any) -> memoryview:
    """The memory of an array, as unsigned integers where buffers have no word for its dtype."""
    try:
        return memoryview(array)
    except BufferError:
        return memoryview(array.bits())


def _words_of(dtype: str) -> str:
    return f"uint{DLPACK_DTYPES[dtype][1]}"


def flat(array: Any) -> memoryview:
    """The bytes of an array in the usual order: its memory where they lie so, else a copy."""
    view = _words(array)
    if not view.c_contiguous:
        return memoryview(view.tobytes())
    return memoryview(over(view, "uint8", [view.nbytes]))


def step_of(array: Any, step: int) -> Any:
    """A part of an array along its first axis, over its memory, which has no gaps."""
    view = _words(array)
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


def asarray(value: Any, dtype: str) -> Any:
    """A number as an array without dimensions."""
    if dtype != "bfloat16":
        return over(bytearray(struct.pack(FORMATS[dtype], value)), dtype, ())
    # The upper half of a float32, rounded to even.
    bits = int.from_bytes(struct.pack("=f", value), sys.byteorder)
    half = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 if value == value else 0x7FC0  # noqa: PLR0124
    return over(bytearray(half.to_bytes(2, sys.byteorder)), dtype, ())


def conversion(name: str, dtype: str, dims: int, value: Any) -> str:
    """How a user who has not imported numpy makes an array of a value.

    Args:
        name: The name of the argument.
        dtype: The dtype that it should have.
        dims: How many dimensions it should have.
        value: What was given for it.
    """
    view = as_buffer(value)
    try:
        shape = _shape_of(value) if view is None else view.shape
    except TypeError:
        return "No array can be made of it"
    if importlib.util.find_spec("numpy") is not None:
        return f'Convert it: numpy.asarray({name}, dtype="{dtype}")'
    form = FORMATS.get(dtype, "")
    if len(shape) == dims == 1 and form in {*"bhiqBHIQfd"}:
        given = name if isinstance(value, (list, tuple)) else f"list({name})"
        return f'Convert it: array.array("{form}", {given})'
    return f'Install numpy, and convert it: numpy.asarray({name}, dtype="{dtype}")'


def _shape_of(value: Any) -> tuple[int, ...]:
    """The shape of numbers in lists.

    Raises:
        TypeError: It is something else, or the lists are not of one length.
    """
    if isinstance(value, (int, float)):
        return ()
    if not isinstance(value, (list, tuple)):
        raise TypeError
    shapes = {_shape_of(part) for part in value} or {()}
    if len(shapes) > 1:
        raise TypeError
    return (len(value), *shapes.pop())


def _of_interface(value: Any) -> memoryview | None:
    """The bytes that a value offers by numpy's ``__array_interface__``, such as of an image."""
    interface = getattr(value, "__array_interface__", None)
    if not isinstance(interface, dict) or interface.get("strides") is not None:
        return None
    try:
        data, kind = memoryview(interface["data"]), interface["typestr"]
        size = int(kind[2:])
        names = {"u": "uint", "i": "int", "f": "float", "b": "bool"}
        name = "bool" if kind[1] == "b" else f"{names[kind[1]]}{8 * size}"
        form: Any = FORMATS[name]
        view: memoryview = data.cast("B").cast(form, interface["shape"])
    except (TypeError, KeyError, ValueError):  # its memory is told by an address
        return None
    return view


def short_floats(array: Any) -> Any:
    """A bfloat16 array of numpy, by ml_dtypes, as the engine takes it; None where it has gaps."""
    import numpy as np

    order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
    dense = array.transpose(order)
    if not dense.flags.c_contiguous:
        return None
    strides = tuple(stride // 2 for stride in array.strides)
    made = engine_module().view(dense.view(np.uint16), (4, 16), array.shape, strides, 0)
    return made.__dlpack__()


def as_short_floats(output: Any) -> Any:
    """An output of bfloat16 as an array of numpy.

    Raises:
        ModuleNotFoundError: ml_dtypes is not installed, without which numpy has no such dtype.
    """
    import numpy as np

    return np.asarray(memoryview(output.bits())).view(dtype_named("bfloat16"))
