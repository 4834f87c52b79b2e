"""The slow path of a call: make the arguments what the compiled code expects, or say why not.

The generated module checks the usual case in straight-line code. Only when that fails is this
asked; it either returns tensors that pass, or raises an error that names the argument.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from .checks import check_number, check_shape, is_masked, kind_of, label_of, number_types
from .lazy import torch
from .manifest import STATE, Input, Manifest
from .signature import MISSING


def dispatch_modes() -> int:
    """How many modes are active that take part in each operation, such as FakeTensorMode.

    A trace of torch.jit counts: it would take the results of one call for constants.
    """
    return torch._C._len_torch_dispatch_stack() + torch._C._is_tracing()


def nest(manifest: Manifest, values: tuple[Any, ...]) -> list[Any]:
    """Check how arguments nest, and their constants.

    Args:
        manifest: The model's manifest.
        values: One value for each of ``manifest.parameters``.

    Returns:
        The values, with tuples or lists for sequences and dicts for mappings; the tensors are as
        they came.

    Raises:
        TypeError: A value is of another structure.
        ValueError: A constant has another value than the compiled one.
    """
    check_given(manifest, values)
    return [
        _nested(manifest, name, tree, value)
        for (name, tree), value in zip(manifest.parameters.items(), values, strict=True)
    ]


def admit(manifest: Manifest, values: tuple[Any, ...], device: torch.device) -> list[torch.Tensor]:
    """Check ``values`` against the inputs of ``manifest``.

    Args:
        manifest: The model's manifest.
        values: One value for each of ``manifest.inputs``.
        device: Where to put numbers when no value is a tensor.

    Returns:
        Plain tensors in the layout that the compiled code reads; copies where they had to be.

    Raises:
        TypeError: A value is no plain strided tensor, or has the wrong dtype.
        ValueError: A value is on the wrong device, has a shape that the model does not take or no
            memory, or is a number that its dtype does not hold.
    """
    check_given(manifest, values)
    _check_modes(label_of(manifest, manifest.inputs[0]))
    tensors = (value for value in values if isinstance(value, torch.Tensor))
    where = next((tensor.device for tensor in tensors), device)
    pairs = [
        (spec, _of_number(label_of(manifest, spec), spec, value, where))
        for spec, value in zip(manifest.inputs, values, strict=True)
    ]
    for spec, value in pairs:
        _check_kind(label_of(manifest, spec), spec, value)
    first, first_value = pairs[0]
    check_device(manifest, str(first_value.device))
    for spec, value in pairs:
        label = label_of(manifest, spec)
        if value.device != first_value.device:
            raise ValueError(
                f"{label} is on {value.device}, but {first.name!r} is on {first_value.device}. "
                f"{_moved(spec, str(value.device), str(first_value.device))}"
            )
    sizes: dict[str, tuple[int, str]] = {}
    for spec, value in pairs:
        label = label_of(manifest, spec)
        check_shape(label, spec, tuple(value.shape), manifest.dims, sizes)
        _check_memory(label, value)
    return [_laid_out(spec, value) for spec, value in pairs]


def refuse_arguments(
    manifest: Manifest, extra: tuple[Any, ...], unknown: dict[str, Any]
) -> TypeError:
    """The error for arguments that the model has no parameter for.

    Args:
        manifest: The model's manifest.
        extra: Arguments by position beyond the last parameter.
        unknown: Arguments by names that the model does not have, or takes by position only.
    """
    kinds = _parameters(manifest)
    takes = _takes(manifest)
    for name in unknown:
        if kinds.get(name) == "positional-only":
            return TypeError(f"{manifest.name}() takes argument {name!r} by position only")
        return TypeError(f"{manifest.name}() has no argument {name!r}; {takes}")
    positional = sum(kind in {"", "positional-only"} for kind in kinds.values())
    return TypeError(
        f"{manifest.name}() got {positional + len(extra)} positional arguments, {len(extra)} too "
        f"many; {takes}"
    )


def check_given(manifest: Manifest, values: tuple[Any, ...]) -> None:
    """Make sure that each parameter has an argument.

    Raises:
        TypeError: One has none.
    """
    for name, value in zip(_parameters(manifest), values, strict=False):
        if value is MISSING:
            raise TypeError(
                f"{manifest.name}() is missing required argument {name!r}; {_takes(manifest)}"
            )


def _parameters(manifest: Manifest) -> dict[str, str]:
    """The kind of each parameter, empty for an ordinary one."""
    kinds = {name: tree.get("kind", "") for name, tree in manifest.parameters.items()}
    return {**kinds, STATE: "keyword-only"} if manifest.held else kinds


def _takes(manifest: Manifest) -> str:
    stars = {"var-positional": "*", "var-keyword": "**"}
    parameters = _parameters(manifest)
    shown = [stars.get(kind, "") + name for name, kind in parameters.items()]
    kinds = list(parameters.values())
    if "keyword-only" in kinds and "var-positional" not in kinds:
        shown.insert(kinds.index("keyword-only"), "*")
    return f"it takes {', '.join(shown)}"


def check_device(manifest: Manifest, device: str) -> None:
    """Make sure that there is a variant for the device of the first argument.

    Raises:
        ValueError: There is none.
    """
    built = manifest.devices
    if device.partition(":")[0] not in built:
        spec = manifest.inputs[0]
        raise ValueError(
            f"{label_of(manifest, spec)} is on {device}; this package runs on "
            f"{' or '.join(built)}. {_moved(spec, device, built[0])}"
        )


def _moved(spec: Input, device: str, to: str) -> str:
    """How a user has a tensor on another device."""
    if device == "meta":
        return f'It has no values; one with zeros: torch.zeros_like({spec.name}, device="{to}")'
    return f'Move it: {spec.name}.to("{to}")'


def failure(manifest: Manifest, error: RuntimeError) -> Exception:
    """The error for a call that the compiled code did not finish.

    An IndexError, as in eager torch, where an index was out of bounds.
    """
    if type(error) is not RuntimeError:
        return error  # such as torch.OutOfMemoryError
    message = str(error).partition("\n")[0]
    if "index out of bounds" not in message:
        return RuntimeError(f"{manifest.name}(): the compiled code failed: {message}")
    names = [repr(i.name) for i in manifest.inputs if i.dtype.startswith(("int", "uint"))]
    where = f" Look at argument {' or '.join(names)}" if names else ""
    return IndexError(f"{manifest.name}(): an index is outside of what it picks from.{where}")


def _nested(manifest: Manifest, name: str, tree: dict[str, Any], value: Any) -> Any:
    label = f"{manifest.name}(): argument {name!r}"
    kind = tree["type"]
    if kind == "tensor":
        return value
    if kind == "constant":
        constant = tree["value"]
        if type(value) is not type(constant) or value != constant:
            raise ValueError(
                f"{label} is always {constant!r} in the compiled model, got {value!r}. "
                f"Pass {constant!r}, or compile another model with that value"
            )
        return value
    items = tree["items"]
    if kind in {"tuple", "list"}:
        if not isinstance(value, (tuple, list)) or len(value) != len(items):
            got = (
                f"{kind_of(value)} of {len(value)}" if hasattr(value, "__len__") else kind_of(value)
            )
            raise TypeError(f"{label} must be a {kind} of {len(items)}, got {got}")
        pairs = zip(items, value, strict=True)
        parts = [
            _nested(manifest, f"{name}[{i}]", item, part) for i, (item, part) in enumerate(pairs)
        ]
        return tuple(parts) if kind == "tuple" else parts
    keys = tree["keys"]
    if not isinstance(value, Mapping) or set(value) != set(keys):
        got = f"the keys {', '.join(map(repr, value))}" if isinstance(value, Mapping) else ""
        raise TypeError(
            f"{label} must be a dict with the keys {', '.join(map(repr, keys))}, "
            f"got {got or kind_of(value)}"
        )
    return {
        key: _nested(manifest, f'{name}["{key}"]', item, value[key])
        for key, item in zip(keys, items, strict=True)
    }


def _check_modes(label: str) -> None:
    """Refuse a call under a mode for tensors without values, which would get between the code's.

    Others, such as one that counts operations, let the compiled code do as it does.
    """
    if torch._C._is_tracing():
        raise TypeError(
            f"{label} is passed while torch.jit traces, which would keep the result of this one "
            "call as a constant. Call the model outside of it, or use torch.export"
        )
    from torch.utils import _python_dispatch  # only where there is torch

    for mode in _python_dispatch._get_current_dispatch_mode_stack():
        if getattr(mode, "_mode_key", None) is not None:
            raise TypeError(
                f"{label} is passed under {type(mode).__name__}, in which a compiled model has no "
                "part. Call the model outside of it"
            )


def _of_number(label: str, spec: Input, value: Any, device: torch.device) -> Any:
    """A number as the 0-dim tensor that it stands for; anything else as it is."""
    if type(value) not in number_types(spec):
        return value
    check_number(label, spec, value)
    return torch.tensor(value, dtype=getattr(torch, spec.dtype), device=device)


def _check_kind(label: str, spec: Input, value: Any) -> None:
    if type(value) is not torch.Tensor and type(value) is not torch.nn.Parameter:
        numbers = number_types(spec)
        also = ""
        if numbers:
            also = f" or {'an' if numbers[0] is int else 'a'} {numbers[0].__name__}"
        raise TypeError(
            f"{label} must be a torch.Tensor{also}, got {kind_of(value)}. {_convert(spec, value)}"
        )
    if value.is_nested:
        raise TypeError(
            f"{label} must be a dense tensor, got a nested one. "
            f"Convert it: {spec.name}.to_padded_tensor(0)"
        )
    if value.layout is not torch.strided:
        raise TypeError(
            f"{label} must be a dense tensor, got layout {value.layout}. "
            f"Convert it: {spec.name}.to_dense()"
        )
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(value)
    if wrapped or torch._is_functional_tensor(value):
        raise TypeError(
            f"{label} is inside a transform of torch.func, such as vmap or grad, in which a "
            f"compiled model has no part. Call the model outside of it"
        )
    dtype = getattr(torch, spec.dtype)
    if value.dtype is not dtype:
        raise TypeError(
            f"{label} must have dtype {spec.dtype}, got {_short(value.dtype)}. "
            f"{_conversion(spec, value)}"
        )


def _conversion(spec: Input, value: torch.Tensor) -> str:
    """How a user makes a tensor of the dtype that is expected."""
    name, to = spec.name, f".to(torch.{spec.dtype})"
    if value.is_quantized:
        return f"Convert it: {name}.dequantize(){'' if spec.dtype == 'float32' else to}"
    if value.is_complex() and not spec.dtype.startswith("complex"):
        return f"Take a part of it: {name}.real{to}"
    return f"Convert it: {name}{to}"


def _convert(spec: Input, value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"Pass a plain tensor: {spec.name}.as_subclass(torch.Tensor)"
    if value is None:
        return "It is required"
    if is_masked(value):
        return f"Give what is masked a value: torch.from_numpy({spec.name}.filled(0))"
    if hasattr(value, "__dlpack__") and type(value).__module__ != "numpy":
        return f"Convert it: torch.from_dlpack({spec.name})"
    return _made_of(spec, value)


def _made_of(spec: Input, value: Any) -> str:
    """How a user makes a tensor of a value: the first way that works for it."""
    name, dtype = spec.name, getattr(torch, spec.dtype)
    numpy = sys.modules.get("numpy")
    ways: list[tuple[str, Callable[[], Any]]] = [
        (
            f"torch.tensor({name}, dtype=torch.{spec.dtype})",
            lambda: torch.tensor(value, dtype=dtype),
        )
    ]
    if numpy is not None and (hasattr(value, "__array__") or hasattr(value, "__array_interface__")):
        array = f'torch.from_numpy(numpy.array({name}, dtype="{spec.dtype}"))'
        ways.append((array, lambda: torch.from_numpy(numpy.array(value, dtype=spec.dtype))))
        if isinstance(value, numpy.ndarray):
            ways.insert(0, (f"torch.from_numpy({name})", lambda: torch.from_numpy(value)))
    if isinstance(value, (list, tuple)):
        alone = len(value) == 1 and isinstance(value[0], torch.Tensor)
        ways.append((f"{name}[0]", lambda: value[0]) if alone else _stacked(name, value))
    for text, make in ways:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make()
            return f"Convert it: {text}"
    return "torch makes no tensor of it"


def _stacked(name: str, value: Any) -> tuple[str, Callable[[], Any]]:
    return f"torch.stack({name})", lambda: torch.stack(value)


def _check_memory(label: str, value: torch.Tensor) -> None:
    """Refuse a tensor whose storage has been emptied; one of zeros alone never had any."""
    if value.numel() and not value._is_zerotensor() and not value.untyped_storage().nbytes():
        raise ValueError(f"{label} has no memory: its storage was resized to 0. Pass its values")


def _laid_out(spec: Input, value: torch.Tensor) -> torch.Tensor:
    value = value.detach().resolve_conj().resolve_neg()
    if value._is_zerotensor():
        value = value.clone()  # its zeros in memory
    order = spec.order
    if order == sorted(order):
        return value.contiguous()
    # permute() to the order in memory, make that contiguous, and permute back
    inverse = [order.index(i) for i in range(len(order))]
    return value.permute(order).contiguous().permute(inverse)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
