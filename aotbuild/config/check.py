"""Checks of a declaration that types alone cannot express."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from aotbuild.config.inputs import named_dims, tensor_leaves
from aotbuild.config.parse import did_you_mean, listed, located
from aotbuild.config.resolve import (
    PROFILE_VARIABLE,
    calls,
    is_example_file,
    is_library_file,
    is_program,
    known_profiles,
    wanted_profile,
)
from aotbuild.config.schema import (
    DEVICES,
    DTYPES,
    FORWARD,
    Call,
    Config,
    Dim,
    Input,
    Model,
    Settings,
    TensorInput,
    Verify,
)
from aotbuild.config.sizes import parse_size
from aotbuild.errors import ConfigError
from aotbuild.target import TARGETS

_SOURCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_RESERVED = {"runtime", "weights"}
_RESERVED_INPUTS = {"self"}
_RESERVED_METHODS = {FORWARD, "device"}


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
    _check_settings(config, "tool.aotbuild", root)
    for name, model in config.models.items():
        path = f"tool.aotbuild.models.{name}"
        _check_model_name(name, path)
        _check_model(model, path, root)
        _check_settings(model, path, root)
    for name, settings in config.profiles.items():
        _check_settings(settings, f"tool.aotbuild.profiles.{name}", root)
    profiles = known_profiles(config)
    if wanted_profile() not in profiles:
        raise ConfigError(
            f'there is no profile "{wanted_profile()}"',
            where=f"environment: {PROFILE_VARIABLE}",
            fix=did_you_mean(wanted_profile(), profiles)
            or f"choose from {listed(profiles)}, or add [tool.aotbuild.profiles.<name>]",
        )


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
    if is_program(model.source):
        _check_program(model, path, root)
        return
    _check_reference(model.source, f"{path}.source", 'such as "digits.network:Net"')
    if model.weights is not None:
        _check_file(model.weights, "weights", f"{path}.weights", root)
    for name, method in model.methods.items():
        _check_method_name(name, f"{path}.methods.{name}")
        _check_dims(method.dims, f"{path}.methods.{name}.dims")
    _check_dims(model.dims, f"{path}.dims")
    called = calls(model)
    for name, call in called.items():
        own = path if name == FORWARD else f"{path}.methods.{name}"
        _check_call(call, own, f"{path}.dims" if name == FORWARD else f"{own}.dims", root)
    used = set().union(*map(named_dims, called.values()))
    for name in model.dims:
        _check_used(name, used, f"{path}.dims.{name}")
    for method_name, method in model.methods.items():
        for name in method.dims:
            _check_used(name, named_dims(method), f"{path}.methods.{method_name}.dims.{name}")


def _check_used(name: str, used: set[str], path: str) -> None:
    if name not in used:
        raise ConfigError(
            f'the dimension "{name}" is in no shape',
            where=located(path),
            fix=f'write "{name}" in the shape of an input, or remove the entry',
        )


def _check_program(model: Model, path: str, root: Path) -> None:
    """A saved program brings its inputs, dimensions and weights with it."""
    _check_file(model.source, "program", f"{path}.source", root)
    given = {
        "args": model.args,
        "kwargs": model.kwargs,
        "weights": model.weights,
        "inputs": model.inputs,
        "dims": model.dims,
        "example": model.example,
        "dynamic-shapes": model.dynamic_shapes,
        "methods": model.methods,
        "dtype": model.dtype,
        "quantize": model.quantize,
    }
    for key, value in given.items():
        if value:
            raise ConfigError(
                f"{key} cannot be given for a saved program",
                where=located(f"{path}.{key}"),
                why=f'"{model.source}" holds the traced model with its inputs, ranges and weights',
                fix=f"remove {key}, or name the model's class or factory as the source",
            )


def _check_call(call: Call, path: str, dims_path: str, root: Path) -> None:
    python = call.example is not None and not is_example_file(call.example)
    if call.example is not None:
        if python:
            _check_reference(
                call.example,
                f"{path}.example",
                'such as "digits.data:example", or a .safetensors or .npz file',
            )
        else:
            _check_file(call.example, "example", f"{path}.example", root)
    if call.dynamic_shapes is not None:
        _check_reference(
            call.dynamic_shapes, f"{path}.dynamic-shapes", 'such as "digits.data:dynamic_shapes"'
        )
        if call.dims or named_dims(call):
            raise ConfigError(
                "both dims and dynamic-shapes say which dimensions are dynamic",
                where=located(f"{path}.dynamic-shapes"),
                fix="remove one of them; with dynamic-shapes, shapes hold numbers only",
            )
    if python and call.inputs:
        raise ConfigError(
            "both inputs and an example function say what the model takes",
            where=located(f"{path}.example"),
            fix="remove one of them",
        )
    if call.example is not None and not call.inputs:
        return
    if not call.inputs:
        raise ConfigError(
            "no inputs are declared",
            where=located(f"{path}.inputs"),
            fix="add one entry for each parameter of forward(), such as\n"
            'image = { shape = ["batch", 3, 224, 224], dtype = "float32" }',
        )
    for name, tree in call.inputs.items():
        _check_input_name(name, f"{path}.inputs.{name}")
        _check_tree(tree, call.dims, f"{path}.inputs.{name}", dims_path)
    if not any(True for tree in call.inputs.values() for _ in tensor_leaves(tree, "")):
        raise ConfigError(
            "no input is a tensor",
            where=located(f"{path}.inputs"),
            fix='declare one: image = { shape = ["batch", 3, 224, 224] }',
        )


def _check_method_name(name: str, path: str) -> None:
    if not _is_name(name) or name.startswith("_") or name in _RESERVED_METHODS:
        raise ConfigError(
            f'"{name}" cannot be the name of a method',
            where=located(path),
            fix="declare inputs and dims of forward() in the model's own table"
            if name == FORWARD
            else "name a method of the module, without a leading underscore",
        )


def _check_settings(settings: Settings, path: str, root: Path) -> None:
    """Check what can be written for all models, for one, and in a profile."""
    if settings.devices is not None:
        _check_devices(settings.devices, f"{path}.devices")
    _check_verify(settings.verify, f"{path}.verify")
    for name, target in settings.targets.items():
        known = [*DEVICES, *TARGETS]
        if name not in known:
            raise ConfigError(
                f'there is no device or target "{name}"',
                where=located(f"{path}.targets.{name}"),
                fix=did_you_mean(name, known) or f"choose from {listed(known)}",
            )
        _check_verify(target.verify, f"{path}.targets.{name}.verify")
    for i, library in enumerate(settings.op_libraries or []):
        _check_op_library(library, f"{path}.op-libraries[{i}]", root)


def _check_op_library(library: str, path: str, root: Path) -> None:
    if is_library_file(library):
        _check_file(library, "library", path, root)
    elif not all(_is_name(part) for part in library.split(".")):
        raise ConfigError(
            f'"{library}" is neither a module nor a shared library',
            where=located(path),
            fix='write the name of a module, such as "mypkg.ops", or the path of a library, '
            'such as "libs/libmyops.so"',
        )


def _check_reference(text: str, path: str, example: str) -> None:
    if not _SOURCE.fullmatch(text):
        kind = path.rsplit(".", 1)[-1]
        article = "an" if kind[0] in "aeiou" else "a"
        raise ConfigError(
            f'"{text}" is not {article} {kind}',
            where=located(path),
            fix=f'write "module:attribute", {example}',
        )


def _check_dims(dims: dict[str, Dim], path: str) -> None:
    for name, dim in dims.items():
        _check_dim(name, dim, f"{path}.{name}")


def _check_file(name: str, kind: str, path: str, root: Path) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not name:
        raise ConfigError(
            f'"{name}" is not a file inside the project',
            where=located(path),
            why="the file is part of the source distribution",
            fix="write a path relative to pyproject.toml, without ..",
        )
    file = root / pure
    if not file.is_file():
        state = "is a directory" if file.is_dir() else "does not exist"
        parent = file.parent
        nearby = [p.name for p in parent.iterdir() if p.is_file()] if parent.is_dir() else []
        raise ConfigError(
            f'the {kind} file "{name}" {state}',
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
    if spec.dtype is not None and spec.dtype not in DTYPES:
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
        else:
            _check_size(size, dims, where, dims_path)


def _check_size(text: str, dims: dict[str, Dim], where: str, dims_path: str) -> None:
    size = parse_size(text)
    if size is None:
        raise ConfigError(
            f'"{text}" is not a size',
            where=where,
            fix='write a number, the name of a dimension ("batch"), or a size derived from one: '
            '"2*batch", "seq+1" (declare the smaller one of two)',
        )
    if size.dim not in dims:
        hint = did_you_mean(size.dim, dims)
        raise ConfigError(
            f'the dimension "{size.dim}" is not declared',
            where=where,
            fix=hint or f"add to [{dims_path}]:\n{size.dim} = {{ min = 1, max = 64 }}",
        )
    dim = dims[size.dim]
    if size.at(dim.min) < 0:
        raise ConfigError(
            f'the size "{text}" is negative for {size.dim} = {dim.min}',
            where=where,
            fix=f"raise min of {size.dim} to {-size.offset // size.factor}",
        )
    if dim.auto and (size.factor, size.offset) != (1, 0):
        raise ConfigError(
            f'"{text}" is derived from a dimension whose range is "auto"',
            where=where,
            fix=f"declare the range of {size.dim} with min and max",
        )


def _check_dim(name: str, dim: Dim, path: str) -> None:
    if not _is_name(name):
        raise ConfigError(
            f'"{name}" cannot be the name of a dimension',
            where=located(path),
            fix="use a Python name, such as batch",
        )
    if dim.multiple_of < 1:
        raise ConfigError(
            f"multiple-of is {dim.multiple_of}",
            where=located(f"{path}.multiple-of"),
            fix="write the number of which every size is a multiple, such as 8",
        )
    if dim.multiple_of > 1:
        _check_multiples(dim, path)
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


def _check_multiples(dim: Dim, path: str) -> None:
    if dim.auto:
        raise ConfigError(
            "a range that torch.export finds has no multiple-of",
            where=located(f"{path}.multiple-of"),
            fix="declare min and max instead of auto",
        )
    for key in ("min", "max", "example"):
        value = getattr(dim, key)
        if value is None or value % dim.multiple_of == 0:
            continue
        raise ConfigError(
            f"{key} is no multiple of {dim.multiple_of}: {value}",
            where=located(f"{path}.{key}"),
            fix=f"write {value // dim.multiple_of * dim.multiple_of} or "
            f"{(value // dim.multiple_of + 1) * dim.multiple_of}",
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


def _check_verify(verify: Verify | str | None, path: str) -> None:
    if isinstance(verify, str):
        _check_reference(
            verify, path, 'such as "digits.checks:accurate", or { rtol = ..., atol = ... }'
        )
    if not isinstance(verify, Verify):
        return
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
