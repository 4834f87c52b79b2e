"""Checks of a whole declaration, beyond the values one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from aotbuild.config.check_call import check_call
from aotbuild.config.check_dims import check_dim
from aotbuild.config.check_files import check_file
from aotbuild.config.check_runtime import check_runtime
from aotbuild.config.check_settings import check_settings
from aotbuild.config.check_state import check_state
from aotbuild.config.inputs import named_dims, state_dims
from aotbuild.config.messages import choose_from, joined, located
from aotbuild.config.resolve import (
    PROFILE_VARIABLE,
    call_path,
    calls,
    is_example_file,
    is_program,
    known_profiles,
    resolved,
    wanted_profile,
    weights_file,
)
from aotbuild.config.schema import FORWARD, Call, Config, Model
from aotbuild.errors import ConfigError


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
    check_settings(config, "tool.aotbuild", root)
    for name, model in config.models.items():
        check_settings(model, call_path(name, FORWARD), root)
        if is_program(model.source):
            _check_program(model, call_path(name, FORWARD), root)
        else:
            _check_model(name, model, root)
    for name, settings in config.profiles.items():
        check_settings(settings, joined("tool.aotbuild.profiles", name), root)
    _check_profile(known_profiles(config))
    for name, model in resolved(config, wanted_profile()).items():
        check_runtime(name, model)


def _check_package(package: str, root: Path, import_paths: Iterable[Path]) -> None:
    top = package.partition(".")[0]
    if top in {*sys.stdlib_module_names, "torch", "aotbuild"}:
        owner = "Python" if top in sys.stdlib_module_names else "another package"
        raise ConfigError(
            f'"{package}" cannot be the package of the compiled models',
            where=located("tool.aotbuild.package"),
            why=f'"{top}" is a name of {owner}, and import finds that',
            fix=f'add to [tool.aotbuild]: package = "{top}_models"',
        )
    relative = Path(*package.split("."))
    for base in import_paths:
        for taken in (base / relative, base / relative.with_suffix(".py")):
            if taken.exists():
                raise ConfigError(
                    f'"{package}" exists in the project already',
                    where=located("tool.aotbuild.package"),
                    why=f"{taken.relative_to(root)} would be mixed with the generated package",
                    fix="choose a package name that is not taken, or move those files",
                )


def _check_profile(known: list[str]) -> None:
    profile = wanted_profile()
    if profile not in known:
        raise ConfigError(
            f'there is no profile "{profile}"',
            where=f"environment: {PROFILE_VARIABLE}",
            fix=f"{choose_from(profile, known)}, or add [tool.aotbuild.profiles.{profile}]",
        )


def _check_model(name: str, model: Model, root: Path) -> None:
    path = call_path(name, FORWARD)
    weights = weights_file(model)
    if weights is not None:
        check_file(weights, "weights", f"{path}.weights", root)
    for method, own in ((FORWARD, model), *model.methods.items()):
        for dim_name, dim in own.dims.items():
            check_dim(dim_name, dim, joined(f"{call_path(name, method)}.dims", dim_name))
    called = calls(model)
    for method, call in called.items():
        check_call(call, method, call_path(name, method), root)
    check_state(model, path)
    used = state_dims(model).union(*map(named_dims, called.values()))
    _check_used(model, used, path)
    for method, own in model.methods.items():
        _check_used(own, named_dims(own) | state_dims(model), call_path(name, method))


def _check_used(call: Call, used: set[str], path: str) -> None:
    for name in call.dims:
        if name in used:
            continue
        if call.example is not None and not is_example_file(call.example):
            fix = 'write dynamic-shapes = "module:attribute", which goes with an example function'
        else:
            fix = f'write "{name}" in the shape of an input, or remove the entry'
        raise ConfigError(
            f'the dimension "{name}" is in no shape',
            where=located(joined(f"{path}.dims", name)),
            fix=fix,
        )


def _check_program(model: Model, path: str, root: Path) -> None:
    """A saved program brings its inputs, dimensions and weights with it."""
    check_file(model.source, "program", f"{path}.source", root)
    declared = {
        "args": model.args,
        "kwargs": model.kwargs,
        "weights": model.weights,
        "inputs": model.inputs,
        "dims": model.dims,
        "example": model.example,
        "dynamic-shapes": model.dynamic_shapes,
        "methods": model.methods,
        "state": model.state,
        "dtype": model.dtype,
        "quantize": model.quantize,
    }
    for key, value in declared.items():
        if value:
            raise ConfigError(
                f"{key} cannot be given for a saved program",
                where=located(f"{path}.{key}"),
                why=f'"{model.source}" holds the traced model with its inputs, ranges and weights',
                fix=f"remove {key}, or name the model's class or factory as the source",
            )
