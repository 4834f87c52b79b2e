"""Lifting the state of a model: which buffers it is, their shapes, and the methods that take them.

What a method does to buffers is found out by calling it. A buffer that it changes is part of the
state, as is one that the declaration names; a method that only reads such a buffer takes it too.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import sys
from collections.abc import Mapping, Sequence

import torch

from aotbuild.config.messages import did_you_mean, joined, listed, located
from aotbuild.config.resolve import method_label
from aotbuild.config.schema import DeclaredBuffer
from aotbuild.errors import ConfigError, ExportError
from aotbuild.runtime.dims import Affine, Size, concrete
from aotbuild.runtime.manifest import STATE, StateBuffer
from aotbuild.steps.artifacts.samples import Leaf, Samples
from aotbuild.steps.dtypes import dtype_name
from aotbuild.steps.export.arguments import Argument, call_tree
from aotbuild.steps.export.method import LiftedState, Method
from aotbuild.steps.export.state_buffers import Watched, buffer_places, watch
from aotbuild.steps.sizes.shapes import declared_shape, torch_dims


def lift_state(module: torch.nn.Module, methods: Sequence[Method]) -> list[Method]:
    """The methods with the state of their model, where they use it.

    Args:
        module: The model.
        methods: All methods of it that are compiled.

    Raises:
        ConfigError: The declaration names a buffer that there is not.
        ExportError: A buffer changes its shape or its type, or a parameter has the name that the
            state has in calls.
    """
    places = buffer_places(module)
    registered: dict[str, torch.Tensor] = {
        name: holder[key] for name, ((holder, key), *_) in places.items()
    }
    first = methods[0]
    path = joined("tool.aotbuild.models", first.spec.name)
    declared = _declared(first.spec.declaration.state, registered, path)
    shapes = {
        name: declared_shape(spec.shape)
        for name, spec in declared.items()
        if spec.shape is not None
    }
    for name, shape in shapes.items():
        _check_broadcast(name, shape, registered[name], path)
    if not registered:
        return list(methods)
    watched = [_watched(module, method, shapes, registered) for method in methods]
    for method, seen in zip(methods, watched, strict=True):
        for name, new in (seen.changed if seen else {}).items():
            shapes.setdefault(name, _found_shape(name, registered[name], new, method))
            _check_type(name, registered[name], new, method)
    for name in declared:
        shapes.setdefault(name, list(registered[name].shape))
    if not shapes:
        return list(methods)
    names = [name for name in registered if name in shapes]
    state = LiftedState(
        [
            StateBuffer(
                name,
                dtype_name(registered[name].dtype),
                shapes[name],
                dict(declared[name].counts) if name in declared else {},
            )
            for name in names
        ],
        {name: registered[name].detach() for name in names},
    )
    lifted = [
        _with_state(method, state, seen) for method, seen in zip(methods, watched, strict=True)
    ]
    _tell(first.spec.name, state)
    return lifted


def _tell(model: str, state: LiftedState) -> None:
    shown = ", ".join(
        f"{buffer.name}: {buffer.dtype}[{', '.join(map(str, buffer.shape))}]"
        for buffer in state.buffers
    )
    sys.stdout.write(f"aotbuild: {model} keeps between calls, in its state: {shown}\n")


def _declared(
    state: Mapping[str, DeclaredBuffer], registered: Mapping[str, torch.Tensor], path: str
) -> dict[str, DeclaredBuffer]:
    """The declared buffers, each pattern as all that it fits.

    Raises:
        ConfigError: There is no such buffer.
    """
    found: dict[str, DeclaredBuffer] = {}
    for pattern, spec in state.items():
        where = joined(f"{path}.state", pattern)
        counts = {
            name: axis
            for cache, axis in spec.counts.items()
            for name in _fitting(cache, registered, f"{where}.counts")
        }
        for name in _fitting(pattern, registered, where):
            found[name] = dataclasses.replace(spec, counts=counts)
    return found


def _fitting(pattern: str, registered: Mapping[str, torch.Tensor], where: str) -> list[str]:
    names = [name for name in registered if fnmatch.fnmatchcase(name, pattern)]
    if not names:
        raise ConfigError(
            f'the module has no buffer "{pattern}"',
            where=located(where),
            fix=did_you_mean(pattern, registered)
            or (
                f"its buffers are: {listed(registered)}"
                if registered
                else "register it: self.register_buffer(name, tensor)"
            ),
        )
    return names


def _check_broadcast(name: str, shape: Sequence[Size], buffer: torch.Tensor, path: str) -> None:
    """Make sure that a declared shape is one that the buffer can be repeated to."""
    fits = len(shape) == buffer.dim() and all(
        own in {1, size} for own, size in zip(buffer.shape, shape, strict=True)
    )
    if not fits:
        raise ConfigError(
            f"the buffer {name} does not have the declared shape",
            where=located(f"{joined(f'{path}.state', name)}.shape"),
            why=f"it is registered as {tuple(buffer.shape)}, and declared as "
            f"({', '.join(map(str, shape))}): a size can only differ where it is registered as 1",
            fix="correct the shape, or register the buffer with 1 in the place of the batch",
        )


def _watched(
    module: torch.nn.Module,
    method: Method,
    shapes: Mapping[str, Sequence[Size]],
    registered: Mapping[str, torch.Tensor],
) -> Watched | None:
    """What a method does to the buffers, in its example call."""
    known = {
        name: shape
        for name, shape in shapes.items()
        if _dims_of(shape) <= set(method.example.sizes)
    }
    given = {
        name: registered[name].expand(concrete(shape, method.example.sizes))
        for name, shape in known.items()
    }
    tensors = [tensor.clone() for tensor in method.tensors]
    return watch(module, lambda: method.flat(tensors), given)


def _dims_of(shape: Sequence[Size]) -> set[str]:
    return {Affine.of(size).dim for size in shape if not isinstance(size, int)}


def _found_shape(
    name: str, registered: torch.Tensor, new: torch.Tensor, method: Method
) -> list[Size]:
    """The shape of a buffer that is not declared, by what the module assigned to it.

    Raises:
        ExportError: It has changed in another way than by the batch.
    """
    if new.shape == registered.shape:
        return list(registered.shape)
    sizes = method.example.sizes
    shape: list[Size] = []
    for own, size in zip(registered.shape, new.shape, strict=False):
        named = [dim for dim, value in sizes.items() if value == size]
        if own == size:
            shape.append(own)
        elif own == 1 and len(named) == 1:
            shape.append(named[0])
    if len(shape) == new.dim() == registered.dim():
        return shape
    raise ExportError(
        f"the buffer {name} changes its shape in a call",
        where=method.where,
        why=f"it is registered as {tuple(registered.shape)}, and the example call makes it "
        f"{tuple(new.shape)}; the memory of a state has one size for all calls",
        fix="register it with the size that it has from call to call, with 1 in the place of the "
        "batch; a cache that grows has its largest size from the beginning, and a counter",
    )


def _check_type(name: str, registered: torch.Tensor, new: torch.Tensor, method: Method) -> None:
    if new.dtype is not registered.dtype:
        raise ExportError(
            f"the buffer {name} changes its dtype in a call",
            where=method.where,
            why=f"it is registered as {dtype_name(registered.dtype)}, and the example call makes "
            f"it {dtype_name(new.dtype)}",
            fix=f"register it as {dtype_name(new.dtype)}, or convert what is assigned to it",
        )


def _with_state(method: Method, state: LiftedState, seen: Watched | None) -> Method:
    """A method that takes the part of the state that it uses."""
    example = method.example
    buffers = [
        buffer
        for buffer in state.buffers
        if seen is None or buffer.name in seen.used or buffer.name in seen.changed
    ]
    if not buffers:
        dims = {n: d for n, d in method.call.dims.items() if n in _all_dims(example.shapes)}
        return dataclasses.replace(method, call=dataclasses.replace(method.call, dims=dims))
    if any(argument.name == STATE for argument in example.arguments):
        raise ExportError(
            f'{method_label(method.spec.name, method.name)} has a parameter called "{STATE}"',
            where=method.where,
            why="callers pass what the model keeps between calls by that name: it changes "
            f"{listed([buffer.name for buffer in buffers])}",
            fix="rename the parameter",
        )
    if method.shapes_spec is not None:
        raise ExportError(
            "a ShapesSpec cannot tell the shapes of a state",
            where=method.where,
            why=f"the model changes {listed([buffer.name for buffer in buffers])}",
            fix="declare inputs and dims in place of dynamic-shapes",
        )
    tensors = {
        buffer.name: state.initial[buffer.name]
        .expand(concrete(buffer.shape, example.sizes))
        .clone(memory_format=torch.contiguous_format)
        .to(method.device)
        for buffer in buffers
    }
    arguments = [*example.arguments, Argument(STATE, STATE, tensors)]
    in_spec, labels = call_tree(arguments, method.where)
    leaves = [Leaf.of(state.initial[buffer.name]) for buffer in buffers]
    shapes = [*example.shapes, *(buffer.shape for buffer in buffers)]
    dims = method.call.dims
    return dataclasses.replace(
        method,
        example=dataclasses.replace(
            example,
            arguments=arguments,
            in_spec=in_spec,
            labels=labels,
            shapes=shapes,
            samples=Samples([*example.samples.leaves, *leaves]),
        ),
        flat=method.flat.with_arguments(arguments),
        original=None if method.original is None else method.original.with_arguments(arguments),
        tensors=[*method.tensors, *tensors.values()],
        dynamic_shapes=[
            *method.dynamic_shapes,
            *torch_dims([buffer.shape for buffer in buffers], dims),
        ],
        state=state,
        adds={
            buffer.name: _added(state.initial[buffer.name], seen, buffer.name, example.sizes)
            for buffer in buffers
            if buffer.counts
        },
    )


def _added(
    initial: torch.Tensor, seen: Watched | None, name: str, sizes: Mapping[str, int]
) -> Size:
    """How many entries a call adds, by what it added in the example; 0 where it does not tell."""
    if seen is None or name not in seen.changed:
        return 0
    added = {int(number) for number in (seen.changed[name] - initial).flatten()}
    if len(added) != 1:
        return 0
    (number,) = added
    # The sizes of an example all differ, and are at least 2.
    return next((dim for dim, size in sizes.items() if size == number), number)


def _all_dims(shapes: Sequence[Sequence[Size]]) -> set[str]:
    return {dim for shape in shapes for dim in _dims_of(shape)}
