"""The operator of torch that stands for a compiled model in a trace.

Its inputs and outputs are lists of tensors, as the compiled code has them. Its results without
values have the dtypes and shapes of the manifest, in which sizes may be symbols.
"""

from __future__ import annotations

import functools
import math
import re
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .arguments import admit
from .checks import check_conditions, number_types
from .dims import Affine
from .lazy import torch
from .manifest import Manifest

NAMESPACE = "aotbuild_models"


def traceable_call(model: Any) -> Callable[..., Any]:
    """What runs a model in a trace: a function of the values of its inputs, plain Python to Dynamo.

    Args:
        model: The model.

    Returns:
        A function that returns the outputs of the compiled code.
    """
    found = model.__dict__.get("_traced_call")
    if found is not None:
        call: Callable[..., Any] = found
        return call
    operator = _operator(model)
    inputs = model._manifest.inputs
    dtypes = [getattr(torch, spec.dtype) for spec in inputs]
    numbers = [number_types(spec) for spec in inputs]

    def run(*values: Any) -> list[Any]:
        tensors = []
        for value, dtype, kinds in zip(values, dtypes, numbers, strict=True):
            if isinstance(value, torch.Tensor):
                tensors.append(value.detach())
            elif isinstance(value, kinds):
                tensors.append(torch.tensor(value, dtype=dtype))
            else:
                tensors.append(torch.as_tensor(value))
        return list(operator(tensors))

    model.__dict__["_traced_call"] = run
    return run


def is_traced(values: Sequence[Any]) -> bool:
    """Whether a call is part of a trace: no tensor has values, or what is done is recorded.

    A mode that gives tensors no values has none with values beside them, and no part in those of
    another one.
    """
    from torch.utils import _python_dispatch

    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    modes = _python_dispatch._get_current_dispatch_mode_stack()
    tracing: list[Any] = [mode for mode in modes if getattr(mode, "_mode_key", None) is not None]
    for mode in tracing:
        if hasattr(mode, "allow_non_fake_inputs"):
            fakes = [tensor for tensor in tensors if isinstance(tensor, _kinds_of_fakes())]
            own = all(getattr(fake, "fake_mode", mode) is mode for fake in fakes)
            complete = len(fakes) == len(tensors) or mode.allow_non_fake_inputs
            return bool(fakes) and own and complete
    return bool(tracing)


def _kinds_of_fakes() -> tuple[type[Any], ...]:
    """The classes of tensors without values, of those that are imported."""
    classes = {
        "torch._subclasses.fake_tensor": "FakeTensor",
        "torch._subclasses.functional_tensor": "FunctionalTensor",
    }
    modules = {sys.modules.get(module): name for module, name in classes.items()}
    return tuple(getattr(module, name) for module, name in modules.items() if module)


_libraries: dict[str, Any] = {}
_MOST_AGAIN = 1000


def _operator(model: Any) -> Any:
    """The operator of a model, which is registered when it is first asked for."""
    manifest: Manifest = model._manifest
    name = operator_name(type(model).__module__, manifest.name)
    if model._origin is not None:
        name += f"_pool{model._pool.runners}_{model._pool.threads}"
    own = weakref.ref(model)

    def run(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        alive = own()
        if alive is None:
            raise RuntimeError(f"{manifest.name}() is called by a trace, and is gone")
        return _separate(tensors, _run(alive, tensors))

    library, name = _defined(name)
    library.impl(name, run, "CompositeExplicitAutograd")
    fake = functools.partial(_fake_outputs, manifest)
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=library)
    _libraries[name] = library  # the operator goes with it
    return getattr(getattr(torch.ops, NAMESPACE), name).default


def _defined(wanted: str) -> tuple[Any, str]:
    """A new operator, and its name: that which is wanted, or one like it.

    A module that is imported again, as ``importlib.reload`` does, makes its models anew.
    """
    name, number = wanted, 1
    create: Any = torch.library.Library  # which has no types
    while True:
        library = create(NAMESPACE, "FRAGMENT")
        try:
            library.define(f"{name}(Tensor[] inputs) -> Tensor[]")
        except RuntimeError:
            number += 1
            if number > _MOST_AGAIN:
                raise
            name = f"{wanted}_again{number}"
        else:
            return library, name


def operator_name(module: str, model: str) -> str:
    """The name of the operator of a model; another model has another name.

    Args:
        module: The module of the model, such as ``digits.models._net``.
        model: Its name, such as ``net`` or ``net.encode``.
    """
    package = module.rpartition(".")[0] or module
    return re.sub(r"\W", "_", f"{package}.{model}".replace("_", "__"))


def _run(model: Any, tensors: list[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Run a model, with the checks of its inputs."""
    try:
        outputs: Sequence[torch.Tensor] | None = model._call(*tensors)
        if outputs is None:
            values = admit(model._manifest, tuple(tensors), model.device)
            check_conditions(model._manifest, _sizes(model._manifest, values))
            outputs = model._runs[str(values[0].device)](values)
    except RuntimeError as error:
        raise model._failure(error) from error
    return outputs


def _separate(inputs: Sequence[torch.Tensor], outputs: Sequence[Any]) -> list[torch.Tensor]:
    """Outputs as those of an operator have to be: contiguous, none a view of anything else."""
    taken = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    separate = []
    for output in outputs:
        tensor = output.contiguous()
        place = tensor.untyped_storage().data_ptr()
        if place in taken:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        taken.add(place)
        separate.append(tensor)
    return separate


def _fake_outputs(manifest: Manifest, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Outputs without values, for inputs without values."""
    _check_fake(manifest, inputs)
    sizes = _sizes(manifest, inputs)
    device = inputs[0].device if inputs else torch.device("cpu")
    outputs: dict[int, torch.Tensor] = {}
    for leaf in _leaves(manifest.outputs):
        shape = [_size(size, sizes) for size in leaf.get("shape", ())]
        dtype = getattr(torch, leaf.get("dtype", "int64"))
        outputs[leaf["index"]] = torch.empty(shape, dtype=dtype, device=device)
    return [outputs[index] for index in range(len(outputs))]


def _check_fake(manifest: Manifest, inputs: Sequence[torch.Tensor]) -> None:
    """Refuse what a call will refuse, as far as a trace can tell."""
    check: Any = torch._check  # which has no types
    for spec, tensor in zip(manifest.inputs, inputs, strict=True):
        expected = f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"
        label = f"{manifest.name}(): argument {spec.name!r}"
        if tensor.dim() != len(spec.shape):
            raise ValueError(f"{label} must be {expected}, got {tensor.dim()} dimensions")
        if tensor.dtype is not getattr(torch, spec.dtype):
            raise TypeError(f"{label} must be {expected}, got {tensor.dtype}")
        for size, want in zip(tensor.shape, spec.shape, strict=True):
            if isinstance(want, int):
                check(size == want, lambda text=f"{label} must be {expected}": text)


def _sizes(manifest: Manifest, tensors: Sequence[torch.Tensor]) -> dict[str, Any]:
    """The dimensions by name; they may be symbols."""
    plain: dict[str, Any] = {}
    derived: dict[str, Any] = {}
    for spec, tensor in zip(manifest.inputs, tensors, strict=True):
        for size, want in zip(tensor.shape, spec.shape, strict=True):
            if isinstance(want, str):
                plain.setdefault(want, size)
            elif isinstance(want, Affine):
                derived.setdefault(want.dim, (size - want.offset) // want.factor)
    return {**derived, **plain}


def _size(size: Any, sizes: dict[str, Any]) -> Any:
    """A size of an output: what follows from dimensions, or one that only the values tell."""
    if not isinstance(size, str):
        return size
    if set(re.findall(r"[^\W\d]\w*", size)) - {*sizes, "math", "floor", "ceil", "trunc", "int"}:
        return torch.library.get_ctx().new_dynamic_size()
    names = {"math": math, "__builtins__": {"max": max, "min": min, "int": int, "abs": abs}}
    return eval(size, names, dict(sizes))  # noqa: S307  # the build wrote it


def _leaves(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The outputs of the compiled code in a result."""
    if "index" in tree:
        yield tree
    for item in tree.get("items", ()):
        yield from _leaves(item)
