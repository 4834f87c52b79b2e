"""What holds for each model once defaults, profiles and methods are taken together."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from aotbuild.config.inputs import named_dims, state_dims
from aotbuild.config.messages import joined
from aotbuild.config.schema import (
    AUTO,
    FORWARD,
    Call,
    Config,
    Model,
    Settings,
    TargetSettings,
    Tune,
    Verify,
)
from aotbuild.config.values import (
    EXAMPLE_SUFFIXES,
    LIBRARY_SUFFIXES,
    PROGRAM_SUFFIXES,
    RANDOM,
)

PROFILE_VARIABLE = "AOTBUILD_PROFILE"
DEFAULT_PROFILE = "release"
PROFILES = {
    DEFAULT_PROFILE: Settings(),
    "debug": Settings(
        tune=False,
        inductor={
            "aot_inductor.compile_wrapper_opt_level": "O0",
            "aot_inductor.debug_compile": True,
            "epilogue_fusion": False,
            "pattern_matcher": False,
            "size_asserts": True,
            "nan_asserts": True,
        },
    ),
}
"""The profiles that are there without being declared."""


def wanted_profile() -> str:
    """The profile of this build: ``AOTBUILD_PROFILE``, else ``release``."""
    return os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE


def known_profiles(config: Config) -> list[str]:
    """Names that ``AOTBUILD_PROFILE`` can have."""
    return sorted({*PROFILES, *config.profiles})


def resolved(config: Config, profile: str) -> dict[str, Model]:
    """The models with every setting in place.

    A setting of the profile is taken before one of the model, and that before one of
    ``[tool.aotbuild]``; tables are merged key by key. What changes the numbers in a module is not
    for saved programs, which have no module any more.
    """
    built_in = PROFILES.get(profile, Settings())
    chosen = Settings(**_over(built_in, config.profiles.get(profile, Settings())))
    built_in_defaults = Settings(devices=["cpu"], cpu_levels="auto", op_libraries=[], runtime=AUTO)
    defaults = Settings(**_over(built_in_defaults, config))
    models = {}
    for name, model in config.models.items():
        settings = Settings(**_over(defaults, model))
        merged = dataclasses.replace(model, **_over(settings, chosen))
        if is_program(model.source):
            merged = dataclasses.replace(merged, dtype=None, quantize=None)
        if merged.recipe:
            merged = dataclasses.replace(merged, tune=False)
        models[name] = merged
    return models


def settings_for(model: Model, device: str, target: str) -> TargetSettings:
    """The options and the verification of one target of a resolved model.

    Args:
        model: The model, as :func:`resolved` returns it.
        device: Device of the target, such as ``cpu``; its table is read before the target's.
        target: Name of the target, such as ``cpu-avx2``.
    """
    settings = TargetSettings(inductor=model.inductor, verify=model.verify)
    for name in (device, target):
        settings = _merged_target(settings, model.targets.get(name, TargetSettings()))
    if model.swappable:
        return dataclasses.replace(settings, inductor={**settings.inductor, "freezing": False})
    return settings


def calls(model: Model) -> dict[str, Call]:
    """The methods of a model by their names, ``forward`` among them unless others replace it."""
    methods: dict[str, Call] = {}
    if not model.methods or model.inputs or model.example or model.dynamic_shapes:
        fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(Call)}
        if model.methods:  # the other dimensions of the model are theirs
            fields["dims"] = visible_dims(model, Call(inputs=model.inputs))
        methods[FORWARD] = Call(**fields)
    for name, method in model.methods.items():
        methods[name] = dataclasses.replace(method, dims=visible_dims(model, method))
    return methods


def visible_dims(model: Model, method: Call) -> dict[str, Any]:
    """The dimensions that a method can name: its own, and those of the model or of its state."""
    used = named_dims(method) | state_dims(model)
    inherited = {name: dim for name, dim in model.dims.items() if name in used}
    return {**inherited, **method.dims}


def call_path(model: str, method: str) -> str:
    """Dotted path of the table that declares how a method is called."""
    path = joined("tool.aotbuild.models", model)
    return path if method == FORWARD else joined(f"{path}.methods", method)


def method_label(model: str, method: str) -> str:
    """A method as messages name it: ``net`` for ``forward``, else ``net.encode``."""
    return model if method == FORWARD else f"{model}.{method}"


def is_program(source: str) -> bool:
    """Whether a source is a program saved by torch.export.save, and not Python."""
    return source.endswith(PROGRAM_SUFFIXES)


def is_example_file(example: str) -> bool:
    """Whether example data is a file, and not a function."""
    return example.endswith(EXAMPLE_SUFFIXES)


def is_library_file(library: str) -> bool:
    """Whether a library of operators is a file, and not a module."""
    return library.endswith(LIBRARY_SUFFIXES)


def weights_file(model: Model) -> str | None:
    """The file of a model's weights; None where its source brings them, or they are random."""
    if model.weights is None or model.weights == RANDOM:
        return None
    return model.weights.partition("#")[0]


def weights_key(model: Model) -> str:
    """The key in that file under which the state dict is, of ``net.pt#model``; mostly empty."""
    return (model.weights or "").partition("#")[2]


def kinds_of_files(model: Model) -> dict[str, str]:
    """The files that a model's declaration names, relative to the project, and what each holds."""
    weights = weights_file(model)
    libraries = [name for name in model.op_libraries or [] if is_library_file(name)]
    examples = [call.example for call in calls(model).values()]
    return {
        **({weights: "weights"} if weights else {}),
        **({model.source: "program"} if is_program(model.source) else {}),
        **{name: "example" for name in examples if name and is_example_file(name)},
        **dict.fromkeys(libraries, "operators"),
    }


def named_files(model: Model) -> list[str]:
    """The files that a model's declaration names, relative to the project."""
    return list(kinds_of_files(model))


def flat_options(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options with dotted names: ``{ cpp = { threads = 1 } }`` is ``cpp.threads``."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat.update(flat_options(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _over(lower: Settings, upper: Settings) -> dict[str, Any]:
    """The fields of ``Settings``, those of ``upper`` over those of ``lower``."""
    names = dict.fromkeys([*lower.targets, *upper.targets])
    nothing = TargetSettings()
    table = {
        f.name: _first(getattr(upper, f.name), getattr(lower, f.name))
        for f in dataclasses.fields(Settings)
    }
    return {
        **table,
        "verify": _merged_verify(lower.verify, upper.verify),
        "tune": _merged_tune(lower.tune, upper.tune),
        "inductor": {**flat_options(lower.inductor), **flat_options(upper.inductor)},
        "targets": {
            name: _merged_target(lower.targets.get(name, nothing), upper.targets.get(name, nothing))
            for name in names
        },
    }


def _merged_target(lower: TargetSettings, upper: TargetSettings) -> TargetSettings:
    return TargetSettings(
        inductor={**flat_options(lower.inductor), **flat_options(upper.inductor)},
        verify=_merged_verify(lower.verify, upper.verify),
    )


def _merged_verify(lower: Verify | str | None, upper: Verify | str | None) -> Verify | str | None:
    if isinstance(lower, Verify) and isinstance(upper, Verify):
        return Verify(rtol=_first(upper.rtol, lower.rtol), atol=_first(upper.atol, lower.atol))
    return lower if upper is None else upper


def _merged_tune(lower: bool | Tune | None, upper: bool | Tune | None) -> bool | Tune | None:  # noqa: FBT001
    """That of the upper settings; a plain true leaves the limits of the lower ones."""
    if not isinstance(lower, Tune) or upper is False:
        return lower if upper is None else upper
    if not isinstance(upper, Tune):
        return lower
    return Tune(
        max_error=_first(upper.max_error, lower.max_error), check=_first(upper.check, lower.check)
    )


def _first(upper: Any, lower: Any) -> Any:
    return lower if upper is None else upper
