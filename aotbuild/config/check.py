"""Checks of a declaration that types alone cannot express."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from aotbuild.config.inputs import tensor_leaves
from aotbuild.config.parse import did_you_mean, listed, located
from aotbuild.config.schema import DEVICES, DTYPES, Config, Dim, Input, Model, TensorInput, Verify
from aotbuild.errors import ConfigError

_SOURCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_RESERVED = {"runtime", "weights"}
_RESERVED_INPUTS = {"self"}


def check_config(config: Config, package: str, root: Path, import_paths: Iterable[Path]) -> None:
    """Check a parsed ``[tool.aotbuild]`` against itself and the files it names.

    Args:
        config: The parsed table.
        package: Import package of the compiled models.
        root: Directory of the project.
        import_paths: Directories that hold the project's importable packages.

    Raises:
        ConfigError: With the dotted path of the first wrong entry.
    """
    _check_package(package, root, import_paths)
    if not config.models:
        raise ConfigError(
            "no models are declared",
            where=located("tool.aotbuild.models"),
            fix='add a table for each model:\n[tool.aotbuild.models.net]\nsource = "module:Class"',
        )
    for name, model in config.models.items():
        path = f"tool.aotbuild.models.{name}"
        _check_model_name(name, path)
        _check_model(model, path, root)


def _check_package(package: str, root: Path, import_paths: Iterable[Path]) -> None:
    where = located("tool.aotbuild.package")
    if not all(_is_name(part) for part in package.split(".")):
        raise ConfigError(
            f'"{package}" is not the name of an import package',
            where=where,
            fix='write dotted Python names, such as package = "digits.models"',
        )
    relative = Path(*package.split("."))
    for base in import_paths:
        for taken in (base / relative, base / relative.with_suffix(".py")):
            if taken.exists():
                raise ConfigError(
                    f'"{package}" exists in the project already',
                    where=where,
                    why=f"{taken.relative_to(root)} would be mixed with the generated package",
                    fix="choose a package name that is not taken, or move those files",
                )


def _check_model_name(name: str, path: str) -> None:
    if not _is_name(name) or name.startswith("_") or name in _RESERVED:
        raise ConfigError(
            f'"{name}" cannot be the name of a model',
            where=located(path),
            why="the model is imported by this name",
            fix="use a Python name without a leading underscore, "
            f"other than {listed(sorted(_RESERVED))}",
        )


def _check_model(model: Model, path: str, root: Path) -> None:
    if not _SOURCE.fullmatch(model.source):
        raise ConfigError(
            f'"{model.source}" is not a source',
            where=located(f"{path}.source"),
            fix='write "module:attribute", such as "digits.network:Net"',
        )
    if model.weights is not None:
        _check_weights(model.weights, f"{path}.weights", root)
    if not model.inputs:
        raise ConfigError(
            "no inputs are declared",
            where=located(f"{path}.inputs"),
            fix="add one entry for each parameter of forward(), such as\n"
            'image = { shape = ["batch", 3, 224, 224], dtype = "float32" }',
        )
    for name, tree in model.inputs.items():
        _check_input_name(name, f"{path}.inputs.{name}")
        _check_tree(tree, model.dims, f"{path}.inputs.{name}", f"{path}.dims")
    tensors = [spec for tree in model.inputs.values() for _, spec in tensor_leaves(tree, "")]
    if not tensors:
        raise ConfigError(
            "no input is a tensor",
            where=located(f"{path}.inputs"),
            fix='declare one: image = { shape = ["batch", 3, 224, 224] }',
        )
    used = {size for spec in tensors for size in spec.shape}
    for name, dim in model.dims.items():
        _check_dim(name, dim, f"{path}.dims.{name}")
        if name not in used:
            raise ConfigError(
                f'the dimension "{name}" is in no shape',
                where=located(f"{path}.dims.{name}"),
                fix=f'write "{name}" in the shape of an input, or remove the entry',
            )
    _check_devices(model.devices, f"{path}.devices")
    _check_verify(model.verify, f"{path}.verify")


def _check_weights(weights: str, path: str, root: Path) -> None:
    pure = PurePosixPath(weights)
    if pure.is_absolute() or ".." in pure.parts or not weights:
        raise ConfigError(
            f'"{weights}" is not a file inside the project',
            where=located(path),
            why="the weights are part of the source distribution",
            fix="write a path relative to pyproject.toml, without ..",
        )
    file = root / pure
    if not file.is_file():
        state = "is a directory" if file.is_dir() else "does not exist"
        parent = file.parent
        nearby = [p.name for p in parent.iterdir() if p.is_file()] if parent.is_dir() else []
        raise ConfigError(
            f'the weights file "{weights}" {state}',
            where=located(path),
            fix=did_you_mean(pure.name, nearby)
            or "put the file there, or correct the path (it is relative to pyproject.toml)",
        )


def _check_input_name(name: str, path: str) -> None:
    if not _is_name(name) or name in _RESERVED_INPUTS:
        raise ConfigError(
            f'"{name}" cannot be the name of an input',
            where=located(path),
            fix="rename the parameter of forward(); methods use this name themselves"
            if name in _RESERVED_INPUTS
            else "use the parameter's name as forward() spells it",
        )


def _check_tree(tree: Input, dims: dict[str, Dim], path: str, dims_path: str) -> None:
    if isinstance(tree, TensorInput):
        _check_tensor(tree, dims, path, dims_path)
    elif isinstance(tree, list):
        for i, item in enumerate(tree):
            _check_tree(item, dims, f"{path}[{i}]", dims_path)
    elif isinstance(tree, dict):
        for key, item in tree.items():
            _check_tree(item, dims, f"{path}.{key}", dims_path)


def _check_tensor(spec: TensorInput, dims: dict[str, Dim], path: str, dims_path: str) -> None:
    if spec.min is not None and spec.max is not None and spec.min > spec.max:
        raise ConfigError(
            f"min is greater than max: {spec.min:g} > {spec.max:g}",
            where=located(f"{path}.min"),
            fix="swap them, or correct one",
        )
    if spec.dtype not in DTYPES:
        raise ConfigError(
            f'there is no dtype "{spec.dtype}"',
            where=located(f"{path}.dtype"),
            fix=did_you_mean(spec.dtype.removeprefix("torch."), DTYPES)
            or f"choose one of {listed(DTYPES)}",
        )
    for i, size in enumerate(spec.shape):
        where = located(f"{path}.shape[{i}]")
        if isinstance(size, int):
            if size < 0:
                raise ConfigError(
                    f"a size cannot be negative: {size}",
                    where=where,
                    fix='write the size, or a name of [dims] for a dynamic dimension ("batch")',
                )
        elif size not in dims:
            hint = did_you_mean(size, dims)
            raise ConfigError(
                f'the dimension "{size}" is not declared',
                where=where,
                fix=hint or f"add to [{dims_path}]:\n{size} = {{ min = 1, max = 64 }}",
            )


def _check_dim(name: str, dim: Dim, path: str) -> None:
    if not _is_name(name):
        raise ConfigError(
            f'"{name}" cannot be the name of a dimension',
            where=located(path),
            fix="use a Python name, such as batch",
        )
    if dim.min < 0:
        raise ConfigError(
            f"min is negative: {dim.min}",
            where=located(f"{path}.min"),
            fix="write the smallest size that occurs, usually 1",
        )
    if dim.max is not None and dim.max < 2:
        raise ConfigError(
            f"max is {dim.max}",
            where=located(f"{path}.max"),
            why="a dynamic dimension needs a size of at least 2 to be traced with",
            fix=f'raise max, or write the size in the shapes instead of "{name}"',
        )
    if dim.max is not None and dim.min > dim.max:
        raise ConfigError(
            f"min is greater than max: {dim.min} > {dim.max}",
            where=located(f"{path}.min"),
            fix="swap them, or correct one",
        )
    if dim.min == dim.max:
        raise ConfigError(
            f"min equals max: {dim.min}",
            where=located(f"{path}.min"),
            fix=f'this dimension is static: write {dim.min} in the shapes instead of "{name}"',
        )
    if dim.example is not None and not (
        dim.min <= dim.example and (dim.max is None or dim.example <= dim.max)
    ):
        raise ConfigError(
            f"example is outside the range: {dim.example}",
            where=located(f"{path}.example"),
            fix=f"choose a size from {dim.min} to {'any' if dim.max is None else dim.max}",
        )
    if dim.example is not None and dim.example < 2:
        raise ConfigError(
            f"example is {dim.example}",
            where=located(f"{path}.example"),
            why="torch.export fixes a dimension whose example has the size 0 or 1",
            fix="choose an example of at least 2; sizes from min on still work",
        )


def _check_devices(devices: list[str], path: str) -> None:
    if not devices:
        raise ConfigError("no device is listed", where=located(path), fix='write devices = ["cpu"]')
    for i, device in enumerate(devices):
        if device not in DEVICES:
            raise ConfigError(
                f'"{device}" is not a device that models can be compiled for',
                where=located(f"{path}[{i}]"),
                fix=did_you_mean(device, DEVICES) or f"choose from {listed(DEVICES)}",
            )
    if len(set(devices)) < len(devices):
        raise ConfigError("a device is listed twice", where=located(path), fix="remove one")


def _check_verify(verify: Verify, path: str) -> None:
    for key in ("rtol", "atol"):
        value = getattr(verify, key)
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise ConfigError(
                f"{key} is not a tolerance: {value}",
                where=located(f"{path}.{key}"),
                fix="write a number that is zero or greater, such as 1e-4",
            )


def _is_name(name: str) -> bool:
    return name.isidentifier() and not keyword.iskeyword(name)
