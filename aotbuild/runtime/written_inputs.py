"""Inputs that a call changes: whether the compiled code can write to the caller's own memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .checks import kind_of, label_of
from .lazy import is_numpy, is_tensor, torch
from .manifest import Input, Manifest


def check_written(manifest: Manifest, values: Sequence[Any]) -> None:
    """Make sure that a call can write to the inputs that it changes.

    What cannot be written to in place would be copied, and the change lost.

    Args:
        manifest: The method.
        values: A value for each input.

    Raises:
        TypeError: One of them is no array that can be changed.
        ValueError: One is read-only, lies in memory in another way than the compiled code writes,
            requires gradients, or shares memory with another argument.
    """
    for i in manifest.changed:
        if i >= len(values):
            continue
        spec = manifest.inputs[i]
        label = f"{label_of(manifest, spec)} is changed by the call, and"
        _check_one(label, spec, values[i])
        own = _span(values[i])
        for j, other in enumerate(values):
            span = _span(other) if j != i else None
            shared = own and span and own[0] < span[1] and span[0] < own[1]
            if shared or (j != i and other is values[i]):
                raise ValueError(
                    f"{label} shares memory with {manifest.inputs[j].name!r}. Pass a copy of one"
                )


def _check_one(label: str, spec: Input, value: Any) -> None:
    name = spec.name
    if is_tensor(value):
        if value.requires_grad:
            raise ValueError(
                f"{label} requires gradients, which are not recorded. Pass {name}.detach()"
            )
        plain = not (value.is_conj() or value.is_neg() or value._is_zerotensor())
        if not plain or not value.permute(_order(spec, value.dim())).is_contiguous():
            raise ValueError(
                f"{label} has gaps or another order in memory: the change would be lost in a copy. "
                f"Pass {name}.contiguous(), and read the change there"
            )
    elif is_numpy(value):
        if not hasattr(value, "flags") or (value.ndim == 0 and not hasattr(value, "__setitem__")):
            raise TypeError(f"{label} is a number. Pass an array")
        if not value.flags.writeable:
            raise ValueError(f"{label} cannot be written to. Pass {name}.copy()")
        moved = value.transpose(_order(spec, value.ndim))
        if not (moved.flags.c_contiguous and value.flags.aligned and value.dtype.isnative):
            raise ValueError(
                f"{label} has gaps or another order in memory: the change would be lost in a copy. "
                f"Pass numpy.ascontiguousarray({name}), and read the change there"
            )
    elif isinstance(value, bool | int | float):
        raise TypeError(f"{label} is a {type(value).__name__}. Pass an array of {spec.dtype}")
    else:
        _check_buffer(label, name, value)


def _order(spec: Input, count: int) -> list[int]:
    """The order in memory; any for what has another number of dimensions, which is refused."""
    return spec.order if len(spec.order) == count else list(range(count))


def _check_buffer(label: str, name: str, value: Any) -> None:
    try:
        view = memoryview(value)
    except BufferError:
        return  # an array of the engine, of a dtype that buffers have no word for
    except TypeError:
        if value is None or not hasattr(type(value), "__dlpack__"):
            return  # what is no array, the call refuses
        raise TypeError(
            f"{label} is a {kind_of(value)}, which cannot be changed in place. Pass an array of "
            "numpy"
        ) from None
    if view.readonly:
        raise ValueError(f"{label} cannot be written to. Pass bytearray({name}), or another copy")
    if not view.c_contiguous:
        raise ValueError(
            f"{label} has gaps in memory: the change would be lost in a copy. Pass one without"
        )


def _span(value: Any) -> tuple[int, int] | None:
    """The addresses between which an array lies; None where they are not known."""
    if is_tensor(value):
        if value.layout is not torch.strided or not value.numel():
            return None
        start, width = value.data_ptr(), value.element_size()
        strides = [stride * width for stride in value.stride()]
    elif is_numpy(value) and value.size:
        start, width = value.__array_interface__["data"][0], value.itemsize
        strides = list(value.strides)
    else:
        return None
    ends = [(size - 1) * stride for size, stride in zip(value.shape, strides, strict=True)]
    low, high = sum(end for end in ends if end < 0), sum(end for end in ends if end > 0)
    return start + low, start + high + width
