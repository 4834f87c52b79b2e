"""State dicts of torch's tensors: an ``ArrayLibrary``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from .array_library import Held
from .buffers import Buffer, as_buffer
from .lazy import is_numpy, is_tensor, torch

if TYPE_CHECKING:
    from .manifest import Constant
    from .weights import WeightsFile

NOUN = "a tensor"


def taken(value: Any) -> Any:
    """A tensor itself, or one over the memory of an array or a copy of it; None for others."""
    if is_tensor(value):
        return value
    if is_numpy(value):
        return _of_numpy(value)
    buffer = as_buffer(value)
    if isinstance(buffer, memoryview):
        return _of_buffer(Buffer(buffer))
    return torch.utils.dlpack.from_dlpack(value) if hasattr(type(value), "__dlpack__") else None


def _of_numpy(value: Any) -> Any:
    """The tensor over the memory of an array of numpy, or of a copy that torch can take."""
    from .numpy_arrays import taken as plain

    array = plain(value)
    dtype = None if array is None else getattr(torch, array.dtype.name, None)
    if not isinstance(dtype, torch.dtype):
        return None
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    try:
        return torch.from_numpy(array)
    except TypeError:  # a type that is not numpy's own, such as bfloat16 of ml_dtypes
        return torch.from_numpy(array.view(f"uint{8 * array.itemsize}")).view(dtype)


def _of_buffer(buffer: Buffer) -> Any:
    """The tensor over a copy of a buffer."""
    dtype = getattr(torch, buffer.dtype, None)
    if not isinstance(dtype, torch.dtype):
        return None
    data = buffer.native()
    return over(data, buffer.dtype, buffer.shape, 0, len(data))


def over(memory: Any, dtype: str, shape: Sequence[int], offset: int, size: int) -> Any:
    """The tensor of bytes that lie in a buffer without gaps.

    Args:
        memory: The buffer; the tensor keeps it alive.
        dtype: The name of its dtype.
        shape: Its sizes.
        offset: Where in the buffer it begins, in bytes.
        size: How many bytes it has.
    """
    kind = getattr(torch, dtype)
    flat = torch.empty(0, dtype=kind)
    if size:
        count = size // kind.itemsize
        flat = torch.frombuffer(memory, dtype=kind, count=count, offset=offset)
    return flat.reshape(tuple(shape))


def mapped(file: WeightsFile, constant: Constant) -> Any:
    """A constant over the mapped bytes of a file."""
    return file.tensor(constant)


def placed(file: WeightsFile, constant: Constant, device: str) -> Any:
    """A constant of a file as the engine of a device takes it.

    Args:
        file: The mapped file.
        constant: The constant.
        device: Where the engine runs.
    """
    return file.on(device, constant)


def held(constant: Constant, device: str) -> Held:
    """New memory for what takes the place of a constant, with the same layout."""
    tensor = torch.empty_strided(
        constant.shape, constant.stride, dtype=getattr(torch, constant.dtype), device=device
    )
    return Held(tensor, tensor)


def write(array: Any, index: tuple[slice, ...], value: Any) -> None:
    """Copy elements of one tensor into another one.

    Args:
        array: What they are written to.
        index: Which ones.
        value: What has them, of the same shape.
    """
    array[index].copy_(value.detach()[index])


def on_cpu(array: Any) -> Any:
    """A tensor on the CPU, of which no gradients are recorded."""
    return array.detach().cpu()


def copied(array: Any) -> Any:
    """A copy of a tensor on the CPU."""
    return array.clone().cpu()


def cast(array: Any, dtype: str) -> Any:
    """A tensor with another dtype; it is the same tensor if it has that dtype."""
    return array.to(getattr(torch, dtype))


def numbers(shape: Sequence[int]) -> Any:
    """The whole numbers from 1 on, in a tensor of this shape."""
    return torch.arange(1, math.prod(shape) + 1).reshape(list(shape))


def zeros(shape: Sequence[int], dtype: str) -> Any:
    """A tensor of zeros."""
    return torch.zeros(list(shape), dtype=getattr(torch, dtype))


def computing() -> AbstractContextManager[Any]:
    """In it, no gradients are recorded."""
    return torch.no_grad()


def operator(name: str) -> Callable[..., Any]:
    """An operator of torch by a name such as ``aten.add.Tensor``."""
    found: Any = torch.ops
    for part in name.split("."):
        found = getattr(found, part)
    call: Callable[..., Any] = found
    return call


def word(text: str) -> Any:
    """A dtype, or another of the words that arguments of operators are, by its name."""
    return getattr(torch, text)
