"""Results, written to what a caller has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .buffers import Buffer, as_buffer
from .checks import kind_of
from .engine_arrays import flat, is_array, view_of
from .lazy import is_numpy, is_tensor, torch
from .machine import engine_module
from .memory import overlap, span_of


def write(label: str, result: Any, out: Any) -> Any:
    """Copy a result to what was given for it.

    Args:
        label: How messages name what was given.
        result: Tensors or arrays, in tuples, lists and dicts; anything else is passed over.
        out: Tensors, arrays or buffers of the same shapes and dtypes, in containers that have the
            same lengths and keys.

    Returns:
        ``out``

    Raises:
        TypeError: It holds something else. Nothing is written then.
        ValueError: It has another shape, length, or keys. Nothing is written then.
    """
    pairs: list[tuple[Any, Any]] = []
    _pair(label, result, out, pairs)
    # A result may be a view of an input that something is written to.
    targets = [target for _, target in pairs]
    pairs = [(_unshared(source, target, targets), target) for source, target in pairs]
    for source, target in pairs:
        if is_tensor(target):
            with torch.no_grad():
                target.copy_(source)
        elif isinstance(target, memoryview):
            flat(target)[:] = flat(source)
        else:
            target[...] = source
    return out


def _unshared(source: Any, target: Any, targets: Sequence[Any]) -> Any:
    """A result, copied if writing to any target could change it."""
    if source is target or not any(_may_overlap(source, other) for other in targets):
        return source
    if is_array(source):
        view = view_of(source)
        return engine_module().laid_out(view, tuple(range(view.ndim)))
    return source.clone() if is_tensor(source) else source.copy()


def _may_overlap(source: Any, target: Any) -> bool:
    if is_tensor(source):
        return is_tensor(target) and _storage(source) == _storage(target) != 0
    return overlap(span_of(source), span_of(target))


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _pair(label: str, result: Any, out: Any, pairs: list[tuple[Any, Any]]) -> None:
    if isinstance(result, Mapping):
        if not isinstance(out, Mapping) or out.keys() != result.keys():
            raise ValueError(f"{label} must be a dict with the keys {', '.join(map(repr, result))}")
        for key, item in result.items():
            _pair(f"{label}[{key!r}]", item, out[key], pairs)
    elif isinstance(result, (tuple, list)):
        if not isinstance(out, (tuple, list)) or len(out) != len(result):
            kind = "tuple" if isinstance(result, tuple) else "list"
            raise ValueError(f"{label} must be a {kind} of {len(result)}")
        for i, item in enumerate(result):
            _pair(f"{label}[{i}]", item, out[i], pairs)
    elif hasattr(type(result), "__dlpack__"):
        buffer = _buffer(result, out)
        if buffer is not None:
            _check_buffer(label, result, out, buffer)
            pairs.append((result, buffer))
            return
        _check(label, result, out)
        pairs.append((result, out))


def _buffer(result: Any, out: Any) -> memoryview | None:
    """The buffer of what has nothing else by which an array could be written to it."""
    if is_numpy(out) or is_tensor(out) or not (is_numpy(result) or is_array(result)):
        return None
    try:
        return view_of(out)
    except TypeError:
        return None


def _check_buffer(label: str, result: Any, out: Any, buffer: memoryview) -> None:
    dtype = Buffer(as_buffer(out)).dtype
    if dtype != str(result.dtype):
        raise TypeError(f"{label} must have dtype {result.dtype}, got {dtype}")
    if buffer.shape != result.shape:
        raise ValueError(f"{label} must have shape {result.shape}, got {buffer.shape}")
    if buffer.readonly:
        raise ValueError(f"{label} cannot be written to")
    if not buffer.c_contiguous:
        raise ValueError(f"{label} has gaps or another order in memory. Pass a buffer without")


def _check(label: str, result: Any, out: Any) -> None:
    if is_tensor(result) != is_tensor(out) or not hasattr(out, "dtype"):
        raise TypeError(f"{label} must be {_shown(result)}, got {_shown(out, '')}")
    if out.dtype != result.dtype:
        raise TypeError(f"{label} must have dtype {result.dtype}, got {out.dtype}")
    if tuple(out.shape) != tuple(result.shape):
        raise ValueError(f"{label} must have shape {tuple(result.shape)}, got {tuple(out.shape)}")
    if is_tensor(out):
        if out.device != result.device:
            raise ValueError(f"{label} must be on {result.device}, got {out.device}")
        if out.requires_grad and not out.is_leaf:
            raise ValueError(f"{label} requires gradients and is not a leaf. Pass out.detach()")
        return
    writeable = getattr(getattr(out, "flags", None), "writeable", True)
    if not hasattr(out, "__setitem__") or not writeable:
        raise ValueError(f"{label} cannot be written to")


def _shown(value: Any, article: str = "a ") -> str:
    """The type of a value; users cannot import that of the engine."""
    return "an array" if is_array(value) else f"{article}{kind_of(value)}"
