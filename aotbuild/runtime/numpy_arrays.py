"""State dicts of numpy's arrays, for which torch is not needed: an ``ArrayLibrary``."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .array_library import Held
from .buffers import as_buffer, as_short_floats
from .checks import is_masked
from .errors import StateDictError
from .lazy import is_numpy, np
from .machine import DLPACK_DTYPES, engine_module
from .numpy_dtypes import dtype_named
from .numpy_operators import OPERATORS

if TYPE_CHECKING:
    from .manifest import Constant
    from .weights import WeightsFile

NOUN = "an array"

_ALIGNMENT = 64
"""Of memory in bytes, as in a weights file: the width of the widest vector register."""


def taken(value: Any) -> Any:
    """An array in the byte order of this machine, over the memory of a value where it can be.

    It is None for what is no array, and for a masked one, whose mask would be lost.
    """
    array = value if is_numpy(value) else _of_other(value)
    if array is None or is_masked(array):
        return None
    array = np.asarray(array)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _of_other(value: Any) -> Any:
    """An array over what has a buffer or is exchanged by DLPack; None for others."""
    if type(value) is getattr(engine_module(), "Array", None) and value.dtype == "bfloat16":
        return as_short_floats(value)
    buffer = as_buffer(value)
    if isinstance(buffer, memoryview):
        return np.asarray(buffer)
    if not hasattr(type(value), "__dlpack__"):
        return None
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError, TypeError):  # such as bfloat16, which DLPack and numpy lack
        return np.asarray(value) if hasattr(type(value), "__array__") else None


def over(memory: Any, dtype: str, shape: Sequence[int], offset: int, size: int) -> Any:
    """The array of bytes that lie in a buffer without gaps.

    Args:
        memory: The buffer; the array keeps it alive.
        dtype: The name of its dtype.
        shape: Its sizes.
        offset: Where in the buffer it begins, in bytes.
        size: How many bytes it has.
    """
    kind = dtype_named(dtype)
    flat = np.empty(0, kind)
    if size:
        flat = np.frombuffer(memory, kind, size // kind.itemsize, offset)
    return flat.reshape(tuple(shape))


def mapped(file: WeightsFile, constant: Constant) -> Any:
    """A constant over the mapped bytes of a file."""
    return _laid_out(constant, file.bytes, constant.offset)


def placed(file: WeightsFile, constant: Constant, device: str) -> Any:
    """A constant of a file as the engine of a device takes it.

    Args:
        file: The mapped file.
        constant: The constant.
        device: Where the engine runs.
    """
    del device
    return file.array(constant)


def held(constant: Constant, device: str) -> Held:
    """New memory for what takes the place of a constant, with the same layout."""
    del device
    memory = np.empty(constant.size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    place = DLPACK_DTYPES[constant.dtype], tuple(constant.shape), tuple(constant.stride), start
    return Held(_laid_out(constant, memory, start), engine_module().view(memory, *place))


def _laid_out(constant: Constant, memory: Any, offset: int) -> Any:
    """The array that lies in memory as a constant does, at an offset."""
    kind = dtype_named(constant.dtype)
    if constant.size == 0:
        return np.empty(constant.shape, kind)
    flat = over(memory, constant.dtype, [-1], offset, constant.size)
    strides = [stride * kind.itemsize for stride in constant.stride]
    return np.lib.stride_tricks.as_strided(flat, constant.shape, strides)


def write(array: Any, index: tuple[slice, ...], value: Any) -> None:
    """Copy elements of one array into another one.

    Args:
        array: What they are written to.
        index: Which ones.
        value: What has them, of the same shape.
    """
    array[index] = value[index]


def on_cpu(array: Any) -> Any:
    """The array."""
    return array


def copied(array: Any) -> Any:
    """A copy of an array."""
    return array.copy(order="K")


def cast(array: Any, dtype: str) -> Any:
    """An array with another dtype; it is the same array if it has that dtype."""
    return np.asarray(array).astype(dtype_named(dtype), copy=False)


def numbers(shape: Sequence[int]) -> Any:
    """The whole numbers from 1 on, in an array of this shape."""
    return np.arange(1, math.prod(shape) + 1, dtype=np.int64).reshape(tuple(shape))


def zeros(shape: Sequence[int], dtype: str) -> Any:
    """An array of zeros."""
    return np.zeros(tuple(shape), dtype_named(dtype))


@contextlib.contextmanager
def computing() -> Iterator[None]:
    """In it, nothing warns of what is infinite or NaN.

    Raises:
        StateDictError: A dtype is one of ml_dtypes, which is not installed.
    """
    with np.errstate(all="ignore"):
        try:
            yield
        except ModuleNotFoundError as error:
            raise StateDictError(str(error)) from None


def operator(name: str) -> Callable[..., Any]:
    """An operator of torch by a name such as ``aten.add.Tensor``.

    Raises:
        StateDictError: It is none of those that are here.
    """
    if name not in OPERATORS:
        raise StateDictError(
            f"something that follows from the parameters is computed by {name}, which only torch "
            "has: pip install torch, and import it before"
        )
    return OPERATORS[name]


def word(text: str) -> Any:
    """A dtype of numpy by its name; another word as it is, as nothing here heeds it."""
    return text
