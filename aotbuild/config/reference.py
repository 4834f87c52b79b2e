"""The reference of all keys, docs/reference.md, made of the dataclasses of ``schema``."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from typing import Any

from aotbuild.config.keys import Key, bare, docstrings, keys_of, mark, one_line, rules
from aotbuild.config.resolve import DEFAULT_PROFILE, PROFILE_VARIABLE, PROFILES
from aotbuild.config.rules import Choice, Within
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


@dataclass(frozen=True)
class Section:
    """A table of the declaration in the reference."""

    heading: str
    cls: type
    example: str
    """A declaration that is complete in itself."""
    note: str = ""
    """What a table of keys does not say."""


_SECTIONS = [
    Section(
        "`[tool.aotbuild]`",
        Config,
        """\
[tool.aotbuild]
package = "digits.models"

[tool.aotbuild.models.net]
source = "digits.network:Net"
inputs.image = { shape = [1, 1, 8, 8] }
""",
        "The [settings](#settings) written here hold for all models.",
    ),
    Section(
        "`[tool.aotbuild.models.<name>]`",
        Model,
        """\
[tool.aotbuild.models.net]
source = "digits.network:make_net"
kwargs = { width = 64, depth = 3 }
weights = "weights/net.safetensors"
inputs.image = { shape = ["batch", 1, 8, 8] }
dims.batch = { min = 1, max = 256 }
""",
        "The name is what the package offers: a Python name without a leading underscore. A model "
        "has the keys of a [call](#calls) and the [settings](#settings) too. A saved program "
        "(`.pt2`) brings its inputs, ranges and weights with it, and has settings only.",
    ),
    Section(
        "Calls",
        Call,
        """\
[tool.aotbuild.models.tagger]
source = "words.tagger:Tagger"

[tool.aotbuild.models.tagger.inputs]
ids = { shape = ["batch", "length"], dtype = "int64", max = 29999 }
mask = { shape = ["batch", "length"], dtype = "bool" }

[tool.aotbuild.models.tagger.dims]
batch = { min = 1, max = 64 }
length = { min = 1, max = 512 }
""",
        "How `forward()` is called stands in the model's table, how another method is called in "
        "`[tool.aotbuild.models.<name>.methods.<method>]`. `inputs` and an example function "
        "exclude each other, as do `dims` and `dynamic-shapes`.",
    ),
    Section(
        "`[tool.aotbuild.models.<name>.methods.<method>]`",
        Method,
        """\
[tool.aotbuild.models.codec]
source = "sounds.codec:Codec"
dims.batch = { min = 1, max = 16 }

[tool.aotbuild.models.codec.methods.encode]
inputs.audio = { shape = ["batch", 1, "samples"] }
dims.samples = { min = 320, max = 32000, multiple-of = 320 }

[tool.aotbuild.models.codec.methods.decode]
inputs.codes = { shape = ["batch", "frames"], dtype = "int64", max = 1023 }
dims.frames = { min = 1, max = 100 }
""",
        "A method has the keys of a [call](#calls). `forward()` is compiled too when the model's "
        "own table declares how it is called.",
    ),
    Section(
        "state.name",
        DeclaredBuffer,
        """\
[tool.aotbuild.models.decoder]
source = "words.decoder:Decoder"
inputs.ids = { shape = ["batch", "steps"], dtype = "int64", max = 255 }
dims = { batch = { max = 8 }, steps = { max = 64 } }

[tool.aotbuild.models.decoder.state]
"layers.*.keys" = { shape = ["batch", 4, 512, 16] }
"layers.*.values" = { shape = ["batch", 4, 512, 16] }
position = { counts = { "layers.*.keys" = 2, "layers.*.values" = 2 } }
""",
        "Callers hold the state: `state = decoder.new_state(batch=1)`, then "
        "`decoder(ids, state=state)`; see [models that remember](state.md).",
    ),
    Section(
        "Tensor inputs",
        TensorInput,
        """\
[tool.aotbuild.models.pair]
source = "words.pair:Pair"
inputs.left = { shape = ["batch", "length"], dtype = "int64", min = 1, max = 29999 }
inputs.right = { shape = ["batch", "length+1"], dtype = "int64", min = 1, max = 29999 }
inputs.scale = { shape = [], values = "uniform", max = 2.0 }
dims = { batch = { max = 64 }, length = { max = 512 } }
""",
        "A derived size is a dimension times a number, plus or minus a number. Only those that "
        "torch.export can solve are possible: declare the smaller one of two.",
    ),
    Section(
        "Constant inputs",
        ConstantInput,
        """\
[tool.aotbuild.models.decoder]
source = "words.decoder:Decoder"

[tool.aotbuild.models.decoder.inputs]
ids = { shape = ["batch", 1], dtype = "int64" }
use_cache = { value = true }
head_mask = { none = true }
cache = [
  { k = { shape = ["batch", "past", 64] }, v = { shape = ["batch", "past", 64] } },
  { k = { shape = ["batch", "past", 64] }, v = { shape = ["batch", "past", 64] } },
]

[tool.aotbuild.models.decoder.dims]
batch = { max = 8 }
past = { max = 511 }
""",
        "A caller may leave a constant out; another value is refused. Arrays of inputs are tuples "
        "and tables are dicts, to any depth. A table with a key `shape`, `value` or `none` is a "
        "tensor or a constant, unless that key holds a table: then it is the name of an input.",
    ),
    Section(
        "`dims.<name>`",
        DeclaredDim,
        """\
[tool.aotbuild.models.pooled]
source = "sounds.pooled:Pooled"
inputs.audio = { shape = ["batch", "samples"] }
inputs.weights = { shape = ["channels"] }

[tool.aotbuild.models.pooled.dims]
batch = { max = 16 }
samples = { min = 160, max = 16000, multiple-of = 160, example = 1600 }
channels = "auto"
""",
        "Without `min`, a dimension with `multiple-of` begins at that number.",
    ),
    Section(
        "Settings",
        Settings,
        """\
[tool.aotbuild]
inductor = { max_autotune = true }

[tool.aotbuild.models.net]
source = "digits.network:Net"
inputs.image = { shape = [1, 1, 8, 8] }
dtype = "bfloat16"
verify = "digits.checks:accurate"
inductor."cpp.threads" = 1
op-libraries = ["digits.ops"]
""",
        "Written in `[tool.aotbuild]` for all models, in a model's table for that one, and in "
        "`[tool.aotbuild.profiles.<name>]` for builds with that profile. The profile comes before "
        "the model, and the model before `[tool.aotbuild]`; tables are merged key by key.",
    ),
    Section(
        "`verify`",
        Verify,
        """\
[tool.aotbuild.models.net]
source = "digits.network:Net"
inputs.image = { shape = [1, 1, 8, 8] }
verify = { rtol = 1e-3, atol = 1e-5 }
""",
        "An element passes when `abs(compiled - eager) <= atol + rtol * abs(eager)`.",
    ),
    Section(
        "`tune`",
        Tune,
        """\
[tool.aotbuild.models.net]
source = "digits.network:Net"
inputs.image = { shape = [1, 1, 8, 8] }
tune = { max-error = 1e-2 }
""",
        "See [tuning.md](tuning.md).",
    ),
    Section(
        "`targets.<name>`",
        TargetSettings,
        """\
[tool.aotbuild.models.net]
source = "digits.network:Net"
inputs.image = { shape = [1, 1, 8, 8] }
targets.cpu.verify = { rtol = 1e-3 }
targets.cpu-armv8.inductor = { max_fusion_size = 32 }
""",
        "The name is that of a device or of a target; a target comes before its device.",
    ),
]


_INTRODUCTION = """\
All keys, their types and defaults. This page is written by `make generate` from the docstrings in
`aotbuild/config/schema.py` and the examples in `aotbuild/config/reference.py`; editors complete and
check the same keys with the JSON schema that it writes too (validate-pyproject finds it by itself).

Files are relative to `pyproject.toml`, inside the project. `module:attribute` names something that
Python can import from the project or the build environment.
"""


def reference_text() -> str:
    """The text of docs/reference.md."""
    parts = [
        "# Reference of `[tool.aotbuild]`\n",
        _INTRODUCTION,
        *map(_section, _SECTIONS),
        _profiles(),
    ]
    return "\n".join(parts)


def _section(section: Section) -> str:
    parts = [f"## {section.heading}\n", _sentence(section.cls)]
    if section.note:
        parts.append(section.note + "\n")
    keys = [key for key in keys_of(section.cls).values() if _is_own(key, section.cls)]
    if keys:
        parts += ["| key | type | default | meaning |", "|---|---|---|---|"]
        docs = docstrings(section.cls)
        parts += [_row(key, docs[key.name]) for key in keys]
        parts.append("")
    parts.append(f"```toml\n{section.example}```\n")
    return "\n".join(parts)


def _sentence(cls: type) -> str:
    return one_line((cls.__doc__ or "").split("\n\n")[0]) + "\n"


def _is_own(key: Key, cls: type) -> bool:
    """Whether a key is none that the table has in common with others."""
    return not any(
        key.key in keys_of(base) for base in cls.__bases__ if base.__module__ == cls.__module__
    )


def _row(key: Key, meaning: str) -> str:
    cells = (f"`{key.key}`", _kind(key.hint), _default(key), meaning)
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _default(key: Key) -> str:
    if key.required:
        return "required"
    # Tables and arrays are empty when left out, which needs no word; the meaning explains None.
    return f"`{_toml(key.default)}`" if isinstance(key.default, bool | int | str) else ""


_KINDS = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Model: "[model](#toolaotbuildmodelsname)",
    Method: "[method](#toolaotbuildmodelsnamemethodsmethod)",
    Settings: "[settings](#settings)",
    TargetSettings: "[table](#targetsname)",
    DeclaredBuffer: "[buffer](#statename)",
    Verify: "[table](#verify)",
    Tune: "[table](#tune)",
    "input": "[input](#tensor-inputs)",
    "dim": "[dimension](#dimsname)",
    "plain": "any",
}


def _kind(hint: Any) -> str:
    """A type in words."""
    if mark(hint):
        return _KINDS[mark(hint)]
    for rule in rules(hint):
        if isinstance(rule, Choice):
            return _one_of(rule.choices)
        if isinstance(rule, Within) and rule.minimum is not None:
            to = "" if rule.maximum is None else f" to {rule.maximum}"
            return f"{_kind(bare(hint))} from {rule.minimum}{to}"
    hint = bare(hint)
    args = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        return _one_of(args)
    if origin in {types.UnionType, typing.Union}:
        return " or ".join(_kind(arg) for arg in args if arg is not type(None))
    if origin is list:
        return f"array: {_kind(args[0])}"
    if origin is dict:
        return f"table: {_kind(args[1])}"
    return _KINDS[hint]


def _one_of(choices: tuple[str, ...]) -> str:
    return ", ".join(f'`"{choice}"`' for choice in choices)


def _profiles() -> str:
    rows = [
        f"| `{name}` | {_options(settings) or 'nothing'} |" for name, settings in PROFILES.items()
    ]
    text = (
        f"`{PROFILE_VARIABLE}=<name>` builds with the settings of a profile; without it, it is "
        f"`{DEFAULT_PROFILE}`.\nThese are there, and `[tool.aotbuild.profiles.<name>]` changes "
        "them or adds others.\n"
    )
    example = f"```toml\n{_PROFILE_EXAMPLE}```\n"
    table = ["| profile | sets |", "|---|---|", *rows, ""]
    return "\n".join(["## Profiles\n", text, *table, example])


def _options(settings: Settings) -> str:
    default = Settings()
    assert all(  # noqa: S101
        getattr(settings, f.name) == getattr(default, f.name)
        for f in dataclasses.fields(Settings)
        if f.name not in {"inductor", "tune"}
    ), "the table of profiles shows tune and options of Inductor only"
    tune = {} if settings.tune is None else {"tune": settings.tune}
    shown = {**tune, **settings.inductor}
    return ", ".join(f"`{name} = {_toml(value)}`" for name, value in shown.items())


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f'"{value}"'


_PROFILE_EXAMPLE = """\
[tool.aotbuild.models.net]
source = "digits.network:Net"
inputs.image = { shape = [1, 1, 8, 8] }

[tool.aotbuild.profiles.fast]
inductor = { max_autotune = true, freezing = true }
"""
