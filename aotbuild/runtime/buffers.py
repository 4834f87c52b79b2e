"""Arrays where no library of arrays is: whatever has Python's buffer protocol.

Such as ``array.array``, ``memoryview``, and images that tell their pixels by
``__array_interface__``. Results are arrays of the engine, which have ``shape``, ``dtype``, items,
``tolist()``, the buffer protocol and DLPack. This module has what ``arrays`` needs of any library.
"""

from __future__ import annotations

import sys
from typing import Any

from .engine_arrays import FORMATS, flat, over, packed, shape_of_numbers, view_of
from .lazy import has_numpy
from .machine import DLPACK_DTYPES, engine_module
from .numpy_dtypes import dtype_named

__all__ = [
    "Buffer",
    "as_buffer",
    "as_numpy",
    "as_short_floats",
    "asarray",
    "capsule_of",
    "conversion",
    "short_floats",
]

_DTYPES = {**{form: name for name, form in FORMATS.items()}, "l": "int64", "L": "uint64"}
"""Names of dtypes by the formats of buffers."""

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
        form = view.format.lstrip("@=<>!")
        self.dtype = _DTYPES.get(form, f'one of format "{view.format}"')
        if form in {"l", "L"} and view.itemsize == 4:
            self.dtype = self.dtype.replace("64", "32")

    def native(self) -> bytearray:
        """A copy of its elements, one after the other, in the byte order of this machine."""
        data, size = bytearray(self.view), self.view.itemsize
        if self.view.format[:1] not in _OTHER_ORDER:
            return data
        return _swapped(data, size // 2 if self.dtype.startswith("complex") else size)

    def laid_out(self, order: list[int]) -> Any:
        """An array whose dimensions lie in memory in an order, the outermost first.

        It lies over the memory of the buffer where that is so and may be written to, and is a copy
        elsewhere.
        """
        view, usual = self.view, order == sorted(order)
        if not isinstance(view, memoryview):
            return view if usual and view_of(view).c_contiguous else self._moved(order)
        known = self.dtype in DLPACK_DTYPES
        if known and view.format[:1] in _OTHER_ORDER:
            swapped = over(self.native(), self.dtype, self.shape)
            return swapped if usual else engine_module().laid_out(swapped, tuple(order))
        if known and usual and not view.readonly and view.c_contiguous:
            return over(view, self.dtype, self.shape)
        return engine_module().laid_out(view, tuple(order))

    def _moved(self, order: list[int]) -> Any:
        """A copy in an order, of what buffers have no word for."""
        inverse = [order.index(i) for i in range(len(order))]
        sizes = [self.shape[i] for i in order]
        words = over(flat(self.view), f"uint{DLPACK_DTYPES[self.dtype][1]}", sizes, order=inverse)
        return over(bytearray(memoryview(words).tobytes()), self.dtype, self.shape, order=order)


def _swapped(data: Any, size: int) -> bytearray:
    """A copy of bytes, with each ``size`` of them in the opposite order."""
    swapped = bytearray(data)
    for i in range(size):
        swapped[i::size] = data[size - 1 - i :: size]
    return swapped


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


def asarray(value: Any, dtype: str) -> Any:
    """A number as an array without dimensions."""
    return over(bytearray(packed(dtype, [value])), dtype, ())


def conversion(name: str, dtype: str, dims: int, value: Any) -> str:
    """How a user who has not imported numpy makes an array of a value.

    Args:
        name: The name of the argument.
        dtype: The dtype that it should have.
        dims: How many dimensions it should have.
        value: What was given for it.
    """
    view = as_buffer(value)
    numbers: list[Any] = []
    shape = shape_of_numbers(value, numbers) if view is None else view.shape
    if shape is None or any(isinstance(number, complex) for number in numbers):
        return "No array can be made of it"
    if has_numpy():
        return f'Convert it: numpy.asarray({name}, dtype="{dtype}")'
    form = FORMATS.get(dtype, "")
    if len(shape) == dims == 1 and form in {*"bhiqBHIQfd"}:
        given = name if isinstance(value, (list, tuple)) else f"list({name})"
        return f'Convert it: array.array("{form}", {given})'
    return f'Install numpy, and convert it: numpy.asarray({name}, dtype="{dtype}")'


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
        if kind[0] in _OTHER_ORDER:
            data = memoryview(_swapped(data.tobytes(), size))
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


def as_numpy(output: Any, dtype: Any = None, copy: bool | None = None) -> Any:  # noqa: FBT001
    """An array of numpy over the memory of one of the engine's: its ``__array__()``.

    Args:
        output: The engine's.
        dtype: Another dtype, which takes a copy.
        copy: Whether to copy; None where it has to be.

    Raises:
        ModuleNotFoundError: It is of bfloat16, and ml_dtypes is not installed.
        ValueError: ``copy`` is False, and the dtype is another.
    """
    import numpy as np

    if output.dtype == "bfloat16":
        try:
            array = as_short_floats(output)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error}, or take its tolist()") from None
    else:
        array = np.asarray(memoryview(output))
    if dtype is None or array.dtype == dtype:
        return array.copy() if copy else array
    if copy is False:
        raise ValueError(f"an array of {output.dtype} is one of another dtype only as a copy")
    return array.astype(dtype)
