"""Keys in the wrong table: where they belong."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aotbuild.config.keys import keys_of
from aotbuild.config.schema import (
    Call,
    Config,
    ConstantInput,
    DeclaredBuffer,
    DeclaredDim,
    Method,
    Model,
    Settings,
    TargetSettings,
    TensorInput,
    Tune,
    Verify,
)

_MODELS = "tool.aotbuild.models"

_INDUCTOR = re.compile(
    r"(max_autotune|freezing|epilogue_fusion|coordinate_descent_|conv_1x1_as_mm|pattern_matcher|"
    r"shape_padding|layout_optimization|fallback_random|cpp_wrapper|size_asserts|nan_asserts|"
    r"(cpp|triton|cuda|aot_inductor)$)"
)
"""What options of Inductor are called, for this hint; which ones there are is torch's to say."""


def likely_place(key: str, value: object, cls: type, path: str) -> str:
    """Where a key that its table does not know belongs; empty when it is known nowhere.

    Args:
        key: The key.
        value: What was written for it.
        cls: The dataclass of the table that it was found in.
        path: Dotted path of that table.
    """
    return _by_key(key, cls, path) or _by_value(key, value, cls, path)


def _by_key(key: str, cls: type, path: str) -> str:
    name = key.lower().replace("_", "-")
    if name in keys_of(cls):
        return ""  # misspelt, not misplaced
    model = _model_of(path)
    if _INDUCTOR.match(key) and "inductor" in keys_of(cls):
        return f"an option of Inductor belongs in [{path}.inductor]"
    if cls is ConstantInput and name in keys_of(TensorInput):
        return f'"{name}" is a key of a tensor; a constant has a value and nothing else'
    homes = [
        (Verify, f"a tolerance: write verify = {{ {name} = ... }}"),
        (Tune, f"a limit of tuning: write tune = {{ {name} = ... }}"),
        (Model, f"a key of a model: write it in [{model}]"),
        (Config, "a key for all models together: write it in [tool.aotbuild]"),
        (DeclaredDim, f"a key of a dimension: write it in [{model}.dims.<dimension>]"),
        (TensorInput, f"a key of an input: write it in [{model}.inputs.<parameter>]"),
        (ConstantInput, f"a key of a constant: write it in [{model}.inputs.<parameter>]"),
        (DeclaredBuffer, f"a key of what the model keeps: write it in [{model}.state.<buffer>]"),
    ]
    return next((f'"{name}" is {place}' for home, place in homes if name in keys_of(home)), "")


def _by_value(key: str, value: object, cls: type, path: str) -> str:
    if not isinstance(value, Mapping) or not value or cls not in _TABLES:
        return ""
    model = _model_of(path)
    if "source" in value and cls is Config:
        return f"a model is declared in [{_MODELS}.{key}]"
    if "shape" in value or "value" in value:
        call = path if issubclass(cls, Call) else model
        return f"an input is declared in [{call}.inputs.{key}]"
    if set(value) <= set(keys_of(DeclaredDim)):
        return f"a dimension is declared in [{model}.dims.{key}]"
    if "inputs" in value and cls is Model:
        return f"a method is declared in [{model}.methods.{key}]"
    return ""


_TABLES = {Config, Model, Method, TensorInput, Settings, TargetSettings}


def _model_of(path: str) -> str:
    """Dotted path of the model's table around a path, or of any model's."""
    match = re.match(re.escape(_MODELS) + r'\.(?:"[^"]*"|[^.]+)', path)
    return match[0] if match else f"{_MODELS}.<name>"
