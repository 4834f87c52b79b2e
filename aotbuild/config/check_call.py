"""Checks of how a model is called: inputs, example data and dynamic shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from aotbuild.config.check_files import check_file
from aotbuild.config.inputs import named_dims, tensor_leaves
from aotbuild.config.messages import did_you_mean, joined, located
from aotbuild.config.resolve import is_example_file
from aotbuild.config.schema import Call, DeclaredDim, Input, TensorInput
from aotbuild.config.sizes import bound_at, parse_size
from aotbuild.errors import ConfigError


def check_call(call: Call, method: str, path: str, root: Path) -> None:
    """Check a method of a model.

    Args:
        call: Its declaration, with all dimensions that it sees.
        method: Its name.
        path: Dotted path of its table.
        root: Directory of the project.

    Raises:
        ConfigError: Two keys say the same, no inputs are declared, an input does not fit its
            dimensions or its dtype, or a file does not exist.
    """
    by_function = call.example is not None and not is_example_file(call.example)
    if call.example is not None and not by_function:
        check_file(call.example, "example", f"{path}.example", root)
    if by_function and call.inputs:
        raise ConfigError(
            "both inputs and an example function say what the model takes",
            where=located(f"{path}.example"),
            fix="remove one of them",
        )
    if call.dynamic_shapes is not None and (call.dims or named_dims(call)):
        raise ConfigError(
            "both dims and dynamic-shapes say which dimensions are dynamic",
            where=located(f"{path}.dynamic-shapes"),
            fix="remove one of them; with dynamic-shapes, shapes hold numbers only",
        )
    if call.inputs:
        _check_inputs(call, path)
    elif call.example is None:
        raise ConfigError(
            "no inputs are declared",
            where=located(f"{path}.inputs"),
            fix=f"add one entry for each parameter of {method}() to [{path}.inputs], such as\n"
            'image = { shape = ["batch", 3, 224, 224], dtype = "float32" }',
        )


def _check_inputs(call: Call, path: str) -> None:
    named = named_dims(call)
    for name, tree in call.inputs.items():
        place = _Place(joined(f"{path}.inputs", name), call.dims, f"{path}.dims", named)
        _check_tree(tree, place)
    if not any(True for tree in call.inputs.values() for _ in tensor_leaves(tree, "")):
        raise ConfigError(
            "no input is a tensor",
            where=located(f"{path}.inputs"),
            why="the result of a model without tensors never changes",
            fix='declare one: image = { shape = ["batch", 3, 224, 224] }',
        )


@dataclass(frozen=True)
class _Place:
    """Where an input is, and the dimensions that it sees."""

    path: str
    dims: Mapping[str, DeclaredDim]
    dims_path: str
    named: AbstractSet[str]
    """The dimensions that are in shapes."""

    def below(self, path: str) -> _Place:
        """The place of a part of the input."""
        return replace(self, path=path)


def _check_tree(tree: Input, place: _Place) -> None:
    if isinstance(tree, TensorInput):
        _check_example_values(tree, place)
        for i, size in enumerate(tree.shape):
            if isinstance(size, str):
                _check_size(size, f"{place.path}.shape[{i}]", place)
    elif isinstance(tree, list):
        for i, item in enumerate(tree):
            _check_tree(item, place.below(f"{place.path}[{i}]"))
    elif isinstance(tree, dict):
        for key, item in tree.items():
            _check_tree(item, place.below(joined(place.path, key)))


def _check_size(text: str, path: str, place: _Place) -> None:
    size = parse_size(text)
    assert size is not None, "the parser let a text pass that is no size"  # noqa: S101
    _check_declared(size.dim, path, place)
    dim = place.dims[size.dim]
    if size.at(dim.min) < 0:
        raise ConfigError(
            f'the size "{text}" is negative for {size.dim} = {dim.min}',
            where=located(path),
            fix=f"raise min of {size.dim} to {-(size.offset // size.factor)}",
        )
    if dim.auto and (size.factor, size.offset) != (1, 0):
        raise ConfigError(
            f'"{text}" is derived from a dimension whose range is "auto"',
            where=located(path),
            why="torch.export derives sizes from dimensions with a declared range",
            fix=f"declare the range: {size.dim} = {{ min = 1, max = 64 }}",
        )


def _check_example_values(spec: TensorInput, place: _Place) -> None:
    """The bounds of drawn data fit each other and the dtype, at every size."""
    path = place.path
    lowest, highest = _range_of(spec.dtype or "float32")
    whole = highest is not None
    if whole and spec.values in {"uniform", "normal"}:
        raise ConfigError(
            f'{spec.dtype} data cannot be "{spec.values}"',
            where=located(f"{path}.values"),
            why="it holds whole numbers, which are drawn evenly between min and max",
            fix="remove values",
        )
    for key, value in (("min", spec.min), ("max", spec.max)):
        if isinstance(value, str):
            _check_bound(value, f"{path}.{key}", place)
            continue
        if value is None:
            continue
        if (whole or spec.values == "integers") and value != int(value):
            raise ConfigError(
                f"{key} of whole numbers is a fraction: {value:g}",
                where=located(f"{path}.{key}"),
                fix=f"write {key} = {round(value)}",
            )
        if highest is not None and not lowest <= value <= highest:
            raise ConfigError(
                f"{key} is outside the range of {spec.dtype}: {value:g}",
                where=located(f"{path}.{key}"),
                fix=f"choose a number from {lowest} to {highest}",
            )
    if spec.max is None:
        return
    for sizes in _ends(spec, place):
        _check_order(spec, path, sizes)
        _check_fitting(spec, path, sizes)


def _ends(spec: TensorInput, place: _Place) -> list[dict[str, int]]:
    """The smallest and the largest sizes of the dimensions that bounds name."""
    texts = [bound for bound in (spec.min, spec.max) if isinstance(bound, str)]
    names = {size.dim for size in map(parse_size, texts) if size is not None}
    dims = {name: place.dims[name] for name in sorted(names)}
    ends = [{name: dim.min for name, dim in dims.items()}]
    if dims and all(dim.max is not None for dim in dims.values()):
        ends.append({name: dim.max or 0 for name, dim in dims.items()})
    return ends


def _check_order(spec: TensorInput, path: str, sizes: Mapping[str, int]) -> None:
    """The smallest value is not above the largest one at these sizes."""
    low, high = bound_at(spec.min, sizes), bound_at(spec.max, sizes)
    assert high is not None  # noqa: S101
    at = ", ".join(f"{name} = {size}" for name, size in sizes.items())
    if low is not None and low > high:
        raise ConfigError(
            f"min is greater than max: {low:g} > {high:g}" + (f" at {at}" if at else ""),
            where=located(f"{path}.min"),
            fix="swap them, or correct one" if not at else "correct one, or the range of sizes",
        )
    if low is None and high < 0 and spec.values != "normal":
        least = parse_size(spec.max) if isinstance(spec.max, str) else None
        raise ConfigError(
            f"max is negative, and there is no min: {high:g}" + (f" at {at}" if at else ""),
            where=located(f"{path}.max"),
            why="min is 0 when left out",
            fix="add min"
            if least is None
            else f"raise min of {least.dim} to {-(least.offset // least.factor)}, or add min",
        )


def _check_fitting(spec: TensorInput, path: str, sizes: Mapping[str, int]) -> None:
    """The dtype has the bounds that are sizes."""
    lowest, highest = _range_of(spec.dtype or "float32")
    for key, bound in (("min", spec.min), ("max", spec.max)):
        value = bound_at(bound, sizes)
        if highest is None or value is None or lowest <= value <= highest:
            continue
        at = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        raise ConfigError(
            f"{key} is outside the range of {spec.dtype}: {value:g} at {at}",
            where=located(f"{path}.{key}"),
            fix=f"{spec.dtype} has the numbers from {lowest} to {highest}: declare a wider dtype, "
            "or a smaller range of sizes",
        )


def _check_bound(text: str, path: str, place: _Place) -> None:
    """A bound that is a size names a dimension with a declared range."""
    size = parse_size(text)
    assert size is not None, "the parser let a text pass that is no size"  # noqa: S101
    if size.dim not in place.named or size.dim not in place.dims:
        raise ConfigError(
            f'the dimension "{size.dim}" is in no shape of this call',
            where=located(path),
            why="a call tells the sizes by the shapes of what it is given",
            fix=did_you_mean(size.dim, place.named)
            or f'write "{size.dim}" in the shape of an input, or a number here',
        )
    if place.dims[size.dim].auto:
        raise ConfigError(
            f'"{text}" follows from a dimension whose range is "auto"',
            where=located(path),
            why="it may turn out to be static",
            fix=f"declare the range: {size.dim} = {{ min = 1, max = 64 }}",
        )


def _check_declared(dim: str, path: str, place: _Place) -> None:
    if dim not in place.dims:
        hint = did_you_mean(dim, place.dims)
        raise ConfigError(
            f'the dimension "{dim}" is not declared',
            where=located(path),
            fix=f"{hint}\notherwise " * bool(hint)
            + f"add to [{place.dims_path}]:\n{dim} = {{ min = 1, max = 64 }}",
        )


def _range_of(dtype: str) -> tuple[int, int | None]:
    """The smallest and the largest whole number of a dtype, None for one that is not whole."""
    if dtype == "bool":
        return 0, 1
    match = re.fullmatch(r"(u?)int(\d+)", dtype)
    if match is None:
        return 0, None
    bits = int(match[2])
    return (0, 2**bits - 1) if match[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
