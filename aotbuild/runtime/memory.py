"""Where arrays lie in memory, whatever they are of."""

from __future__ import annotations

from typing import Any

from .buffers import as_buffer
from .engine_arrays import view_of
from .lazy import is_numpy, is_tensor, torch

Span = tuple[int, int]


def span_of(value: Any) -> Span | None:
    """The addresses between which an array lies; None where it has none, or they are not known."""
    shape: Any
    strides: Any
    if is_tensor(value):
        if value.layout is not torch.strided or not value.numel():
            return None
        start, width = value.data_ptr(), value.element_size()
        shape, strides = value.shape, [stride * width for stride in value.stride()]
    elif is_numpy(value):
        if not value.size:
            return None
        start, width = value.__array_interface__["data"][0], value.itemsize
        shape, strides = value.shape, value.strides
    else:
        buffer = as_buffer(value)
        if buffer is None:
            return None
        view = view_of(buffer)
        if not view.nbytes:
            return None
        start, width = address_of(view), view.itemsize
        shape, strides = view.shape, view.strides
    ends = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
    low, high = sum(end for end in ends if end < 0), sum(end for end in ends if end > 0)
    return start + low, start + high + width


def overlap(one: Span | None, other: Span | None) -> bool:
    """Whether memory that is known is shared."""
    return bool(one and other and one[0] < other[1] and other[0] < one[1])


def address_of(buffer: Any) -> int:
    """Where the first element of a buffer lies, which may be read-only."""
    import ctypes  # few calls need it

    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    except TypeError:  # it is read-only or has gaps, and the way is twenty times as long
        pass
    words = (ctypes.c_ssize_t * _WORDS)()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(buffer), words, _FULL_READ_ONLY)
    address = words[0]
    ctypes.pythonapi.PyBuffer_Release(words)
    return address


_WORDS = 11
"""As many as a ``Py_buffer`` has at most. The first one is the address."""

_FULL_READ_ONLY = 0x11C
"""``PyBUF_FULL_RO``: any buffer, with all that describes it."""


def is_laid_out(view: Any, order: list[int]) -> bool:
    """Whether memory has no gaps, and dimensions lie in it in an order, the outermost first.

    Args:
        view: A buffer.
        order: The order.
    """
    step = view.itemsize
    for i in reversed(order):
        if view.shape[i] > 1 and view.strides[i] != step:
            return False
        step *= view.shape[i]
    return True
