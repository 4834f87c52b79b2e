"""The example call of a model: drawn from the declared inputs, read from a file, or from Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aotbuild.config.inputs import map_tensors, tensor_leaves
from aotbuild.config.messages import did_you_mean, listed, located
from aotbuild.config.resolve import is_example_file
from aotbuild.config.schema import Call, DeclaredDim, TensorInput
from aotbuild.errors import ConfigError, ExportError, SourceError
from aotbuild.runtime.dims import Affine, Size, concrete
from aotbuild.steps.artifacts.samples import Leaf, Samples, example_sizes
from aotbuild.steps.dtypes import dtype_name
from aotbuild.steps.export.arguments import (
    Argument,
    bind_declared,
    bind_example,
    call_tree,
    tensors_of,
    with_tensors,
)
from aotbuild.steps.export.tensor_files import read_tensors
from aotbuild.steps.project_code import error_text, resolve, user_line
from aotbuild.steps.sizes.shapes import declared_shape


@dataclass(frozen=True)
class Example:
    """A call that a model is traced with."""

    arguments: list[Argument]
    in_spec: dict[str, Any]
    """How the arguments nest, in the terms of the call spec."""
    labels: list[str]
    """For each tensor the expression that picks it."""
    shapes: list[list[Size]]
    """The declared shape of each tensor."""
    sizes: dict[str, int]
    """The size of each dimension in the example."""
    samples: Samples

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors among the arguments."""
        return [tensor for argument in self.arguments for tensor in tensors_of(argument.value)]


def example_call(
    method: Callable[..., Any],
    call: Call,
    path: str,
    project: Path,
    dtype: str | None,
    device: torch.device,
) -> Example:
    """The example call that a declaration asks for.

    Args:
        method: The method that is called.
        call: How the declaration says it is called.
        path: Dotted path of that declaration.
        project: Directory of the project.
        dtype: The model's own dtype, to which floating-point tensors are cast.
        device: Where the tensors shall be.

    Raises:
        ConfigError: The inputs are not those that the method takes.
        ExportError: The example data cannot be used.
        SourceError: The example's function cannot be imported, or fails.
    """
    if call.example is None or is_example_file(call.example):
        return _from_declaration(method, call, path, project, dtype, device)
    function = resolve(call.example, f"{path}.example", project)
    args, kwargs = _called(function, call.example, f"{path}.example", project)
    arguments = bind_example(method, args, kwargs, f"{path}.example")
    return _of_values(arguments, path, dtype, device)


def _called(
    function: Any, name: str, path: str, project: Path
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        result = function() if callable(function) else function
    except (Exception, SystemExit) as error:
        line = user_line(error, project)
        raise SourceError(
            f'calling "{name}" failed',
            where=located(path),
            why=error_text(error) + (f"\nat {line}" if line else ""),
            fix="it is called without arguments and returns (args, kwargs)",
        ) from error
    if (
        isinstance(result, tuple | list)
        and len(result) == 2
        and isinstance(result[0], tuple | list)
        and isinstance(result[1], dict)
    ):
        return tuple(result[0]), result[1]
    raise SourceError(
        f'"{name}" does not return an example call',
        where=located(path),
        why=f"it returns {type(result).__name__}",
        fix="return (args, kwargs), a tuple and a dict, such as return (image,), {}",
    )


def _of_values(
    arguments: list[Argument], path: str, dtype: str | None, device: torch.device
) -> Example:
    """An example of the tensors that a project's own function made."""
    in_spec, labels = call_tree(arguments, located(f"{path}.example"))
    cast = []
    for argument in arguments:
        tensors = [_cast(tensor, dtype).to(device) for tensor in tensors_of(argument.value)]
        value = with_tensors(argument.value, iter(tensors))
        cast.append(Argument(argument.name, argument.kind, value))
    tensors = [tensor for argument in cast for tensor in tensors_of(argument.value)]
    if not tensors:
        raise ExportError(
            "the example has no tensor",
            where=located(f"{path}.example"),
            fix="return the tensors that the model takes",
        )
    leaves = [Leaf.of(tensor) for tensor in tensors]
    shapes: list[list[Size]] = [list(tensor.shape) for tensor in tensors]
    return Example(cast, in_spec, labels, shapes, {}, Samples(leaves))


def _from_declaration(
    method: Callable[..., Any],
    call: Call,
    path: str,
    project: Path,
    dtype: str | None,
    device: torch.device,
) -> Example:
    data = read_tensors(project / call.example, call.example, path) if call.example else {}
    if not call.inputs:
        arguments = bind_declared(method, dict(data), f"{path}.example")
        return _of_values(arguments, path, dtype, device)
    # The order of the tensors is known once the arguments are bound; until then, meta tensors
    # stand for them.
    placeholder = torch.empty(0, device="meta")
    declared = {
        name: map_tensors(tree, lambda _: placeholder) for name, tree in call.inputs.items()
    }
    arguments = bind_declared(method, declared, f"{path}.inputs")
    in_spec, labels = call_tree(arguments, located(path))
    specs = dict(leaf for name, tree in call.inputs.items() for leaf in tensor_leaves(tree, name))
    shapes = [declared_shape(specs[label].shape) for label in labels]
    given = _given(data, labels, call.example or "", f"{path}.example")
    leaves = [_leaf(specs[label], given.get(label), dtype) for label in labels]
    for label, leaf in zip(labels, leaves, strict=True):
        if leaf.data is not None and dtype_name(leaf.data.dtype) != leaf.dtype:
            raise ExportError(
                f"{label} has dtype {dtype_name(leaf.data.dtype)} in the example, "
                f"but is declared as {leaf.dtype}",
                where=located(f"{path}.example"),
                fix="correct the declaration, or store the data with that dtype",
            )
    sizes = _data_sizes(labels, shapes, given, call.dims, f"{path}.example")
    example = example_sizes(call.dims, sizes)
    samples = Samples(leaves)
    generator_inputs = [concrete(shape, example) for shape in shapes]
    tensors = iter(samples.drawn(generator_inputs, device, example))
    bound = [Argument(a.name, a.kind, with_tensors(a.value, tensors)) for a in arguments]
    return Example(bound, in_spec, labels, shapes, example, samples)


def _leaf(spec: TensorInput, data: torch.Tensor | None, dtype: str | None) -> Leaf:
    wanted = spec.dtype or dtype or "float32"
    if dtype is not None and getattr(torch, wanted).is_floating_point:
        wanted = dtype
    if data is not None:
        data = _cast(data, dtype)
    return Leaf(wanted, data, spec.min, spec.max, spec.values)


def _cast(tensor: torch.Tensor, dtype: str | None) -> torch.Tensor:
    real = tensor.is_floating_point() and dtype is not None
    return tensor.to(getattr(torch, dtype)) if real and dtype else tensor


def _given(
    data: Mapping[str, torch.Tensor], labels: Sequence[str], file: str, path: str
) -> dict[str, torch.Tensor]:
    """The tensors of an example file by their labels; nested ones are ``state.0.hidden`` there."""
    keys = {_dotted(label): label for label in labels}
    found = {}
    for key, tensor in data.items():
        label = keys.get(_dotted(key))
        if label is None:
            raise ConfigError(
                f'"{file}" holds "{key}", which is no input',
                where=located(path),
                fix=did_you_mean(key, keys) or f"the inputs are: {listed(keys)}",
            )
        found[label] = tensor
    return found


def _dotted(label: str) -> str:
    return re.sub(r"\[\"?(.*?)\"?\]", r".\1", label)


def _data_sizes(
    labels: Sequence[str],
    shapes: Sequence[Sequence[Size]],
    given: Mapping[str, torch.Tensor],
    dims: Mapping[str, DeclaredDim],
    path: str,
) -> dict[str, int]:
    """The sizes that example data has for the dimensions."""
    sizes: dict[str, int] = {}
    for label, shape in zip(labels, shapes, strict=True):
        if label not in given:
            continue
        actual = tuple(given[label].shape)
        fits = len(actual) == len(shape)
        for size, want in zip(actual, shape, strict=False):
            if isinstance(want, int):
                fits = fits and size == want
                continue
            affine = Affine.of(want)
            value = affine.solve(size)
            fits = fits and value is not None and sizes.setdefault(affine.dim, value) == value
        if not fits:
            declared = ", ".join(map(str, shape))
            raise ExportError(
                f"{label} has the shape {actual} in the example, but is declared as ({declared})",
                where=located(path),
                why=", ".join(f"{name} = {size}" for name, size in sizes.items()),
                fix="correct the shape, or the data",
            )
    for name, size in sizes.items():
        dim = dims[name]
        step = dim.multiple_of
        if size % step:
            raise ExportError(
                f"{name} is {size} in the example",
                where=located(path),
                why=f"every size is declared to be a multiple of {step}",
                fix="use data of such a size",
            )
        if size not in dim or size < 2 * step:
            raise ExportError(
                f"{name} is {size} in the example",
                where=located(path),
                why=f"declared is {dim.range}; "
                + (
                    f"torch.export fixes a multiple of {step} whose example is 0 or {step}"
                    if step > 1
                    else "torch.export fixes a dimension whose example has the size 0 or 1"
                ),
                fix=f"use data of at least size {2 * step} that is inside the range",
            )
    return sizes
