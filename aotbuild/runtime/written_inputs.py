"""Inputs that a call changes: whether the compiled code can write to the caller's own memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .buffers import Buffer, as_buffer
from .checks import kind_of, label_of
from .engine_arrays import FORMATS, view_of
from .lazy import is_numpy, is_tensor
from .manifest import Input, Manifest
from .memory import is_laid_out, overlap, span_of


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
    changed = [i for i in manifest.changed if i < len(values)]
    spans = [span_of(value) for value in values] if changed else []
    for i in changed:
        spec = manifest.inputs[i]
        label = f"{label_of(manifest, spec)} is changed by the call, and"
        _check_one(label, spec, values[i])
        for j, other in enumerate(values):
            if j != i and (other is values[i] or overlap(spans[i], spans[j])):
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
        order = _order(spec, value.dim())
        plain = not (value.is_conj() or value.is_neg() or value._is_zerotensor())
        if not plain or not value.permute(order).is_contiguous():
            own = name if plain else f"{name}.clone()"
            raise _lost(label, _ordered(order, own, "{}.permute({})", "{}.contiguous()"))
    elif is_numpy(value):
        if not hasattr(value, "flags") or (value.ndim == 0 and not hasattr(value, "__setitem__")):
            raise TypeError(f"{label} is a number. Pass an array")
        if not value.flags.writeable:
            raise ValueError(f"{label} cannot be written to. Pass {name}.copy()")
        order = _order(spec, value.ndim)
        plain = value.flags.aligned and value.dtype.isnative
        if not (plain and value.transpose(order).flags.c_contiguous):
            own = name if plain else f'numpy.array({name}, dtype="{spec.dtype}")'
            dense = "numpy.ascontiguousarray({})"
            raise _lost(label, _ordered(order, own, "{}.transpose({})", dense))
    elif isinstance(value, bool | int | float):
        raise TypeError(f"{label} is a {type(value).__name__}. Pass an array of {spec.dtype}")
    else:
        _check_buffer(label, spec, value)


def _lost(label: str, instead: str) -> ValueError:
    return ValueError(
        f"{label} has gaps or another order in memory: the change would be lost in a copy. "
        f"Pass {instead}, and read the change there"
    )


def _ordered(order: list[int], name: str, permuted: str, dense: str) -> str:
    """How a user has an array in memory in an order.

    Args:
        order: The order.
        name: The array.
        permuted: What permutes the dimensions of an array.
        dense: What makes it contiguous.
    """
    if order == sorted(order):
        return dense.format(name)
    inverse = [order.index(i) for i in range(len(order))]
    return permuted.format(dense.format(permuted.format(name, order)), inverse)


def _order(spec: Input, count: int) -> list[int]:
    """The order in memory; any for what has another number of dimensions, which is refused."""
    return spec.order if len(spec.order) == count else list(range(count))


def _check_buffer(label: str, spec: Input, value: Any) -> None:
    try:
        view = view_of(value)
    except TypeError:
        if value is None or not hasattr(type(value), "__dlpack__"):
            return  # what is no array, the call refuses
        raise TypeError(
            f"{label} is a {kind_of(value)}, which cannot be changed in place. Pass an array of "
            "numpy"
        ) from None
    if not view.nbytes or Buffer(as_buffer(value)).dtype != spec.dtype:
        return  # there is nothing to change, or the call refuses it
    order = _order(spec, view.ndim)
    if view.readonly:
        raise ValueError(f"{label} cannot be written to. Pass {_copied(spec, view, order)}")
    if not is_laid_out(view, order):
        raise _lost(label, _copied(spec, view, order))


def _copied(spec: Input, view: memoryview, order: list[int]) -> str:
    """What a user writes for a copy of a buffer that can be changed in place."""
    form = FORMATS.get(spec.dtype, "")
    if order != sorted(order):
        return f"a copy whose dimensions lie in memory in the order {order}"
    if len(form) != 1:  # no buffer of it can be made by Python alone
        return "a copy without gaps that can be written to"
    shape = "" if view.ndim == 1 else f", {view.shape}"
    return f'memoryview(bytearray({spec.name})).cast("{form}"{shape})'
