"""What can be written under ``[tool.aotbuild]``: one dataclass per table.

The docstring under each attribute is its documentation: the JSON schema and the reference in docs/
are made of it (``make generate``). A key in TOML is the attribute's name with dashes for
underscores. Annotations carry the rules that a type does not say, and name the two kinds of values
that are more than one table: ``"input"`` and ``"dim"``; ``"plain"`` is what JSON can hold too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from aotbuild.config.rules import (
    DOTTED,
    FILE,
    Choice,
    Least,
    NotEmpty,
    Pattern,
    Unique,
    file_with,
    name_of,
    reference_to,
)
from aotbuild.config.sizes import SIZE
from aotbuild.target import TARGETS

DTYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "complex128",
)
"""Names of torch's dtypes that an input can have."""

DEVICES = ("cpu",)
"""Device types that a model can be compiled for."""

FORWARD = "forward"
"""The method that a model without ``methods`` is called by."""

PROGRAM_SUFFIXES = (".pt2",)
"""Endings of programs saved by torch.export.save."""

EXAMPLE_SUFFIXES = (".safetensors", ".npz")
"""Endings of files with example data."""

LIBRARY_SUFFIXES = (".so", ".dylib", ".dll")
"""Endings of shared libraries."""

PACKAGE = Pattern(
    what='"{value}" is not the name of an import package',
    fix='write dotted Python names, such as package = "digits.models"',
    regex=DOTTED,
    repair=lambda text: re.sub(r"[^\w.]", "_", text.replace("/", ".")),
)
"""The rule for the name of the package, also where it follows from that of the project."""

_RESERVED_MODELS = ("runtime", "weights")

_ModelName = Annotated[
    str,
    name_of(
        "model",
        why="the model is imported by this name",
        fix="use a Python name without a leading underscore, "
        f"other than {', '.join(_RESERVED_MODELS)}",
        private=False,
        reserved=_RESERVED_MODELS,
    ),
]
_MethodName = Annotated[
    str,
    name_of(
        "method",
        fix="name a method of the module, without a leading underscore, other than device; "
        f"inputs and dims of {FORWARD}() stand in the model's own table",
        private=False,
        reserved=(FORWARD, "device"),
    ),
]
_InputName = Annotated[
    str,
    name_of(
        "input",
        why="inputs have the names of the parameters of forward()",
        fix="use the parameter's name as forward() spells it; rename a parameter called self, "
        "which methods use themselves",
        reserved=("self",),
    ),
]
_DimName = Annotated[str, name_of("dimension", fix="use a Python name, such as batch")]
_ProfileName = Annotated[
    str,
    Pattern(
        what='"{value}" cannot be the name of a profile',
        fix="use letters, digits, dashes and underscores",
        regex=r"[\w-]+",
        names=False,
        noun="profile",
    ),
]
_TargetName = Annotated[
    str, Choice(what='there is no device or target "{value}"', choices=(*DEVICES, *TARGETS))
]

_Dtype = Annotated[str, Choice(what='there is no dtype "{value}"', choices=DTYPES)]
_Device = Annotated[
    str,
    Choice(what='"{value}" is not a device that models can be compiled for', choices=DEVICES),
]
_Source = Annotated[
    str,
    reference_to(
        "source",
        fix='write "module:attribute", such as "digits.network:Net", or the path of a saved '
        'program in the project, such as "programs/net.pt2"',
        suffixes=PROGRAM_SUFFIXES,
    ),
]
_Example = Annotated[
    str,
    reference_to(
        "example",
        fix='write "module:attribute", such as "digits.data:example", or the path of a '
        ".safetensors or .npz file in the project",
        suffixes=EXAMPLE_SUFFIXES,
    ),
]
_DynamicShapes = Annotated[
    str,
    reference_to(
        "reference to dynamic shapes",
        fix='write "module:attribute", such as "digits.data:dynamic_shapes"',
    ),
]
_CheckFunction = Annotated[
    str,
    reference_to(
        "check",
        fix='write "module:attribute", such as "digits.checks:accurate", '
        "or { rtol = ..., atol = ... }",
    ),
]
_File = Annotated[
    str,
    Pattern(
        what='"{value}" is not a file inside the project',
        why="the file is part of the source distribution",
        fix="write a path relative to pyproject.toml, with slashes and without ..",
        regex=FILE,
        names=False,
    ),
]
_OpLibrary = Annotated[
    str,
    Pattern(
        what='"{value}" is neither a module nor a shared library',
        fix='write the name of a module, such as "mypkg.ops", or the path of a library in the '
        'project, such as "libs/libmyops.so"',
        regex=f"(?:{DOTTED})|(?:{file_with(LIBRARY_SUFFIXES)})",
        names=False,
    ),
]

_Size: TypeAlias = (
    Annotated[
        int,
        Least(
            minimum=0,
            what="a size cannot be negative: {value}",
            why="a dynamic dimension has a name instead of a size",
            fix='write the size, or for a dynamic dimension a name of dims, such as "batch"',
        ),
    ]
    | Annotated[str, SIZE]
)
_Bound = Annotated[
    float,
    Least(what="{key} is not a finite number: {value}", fix="write a number, or remove the key"),
]
_Tolerance = Annotated[
    float,
    Least(
        minimum=0,
        what="{key} is not a tolerance: {value}",
        fix="write a number that is zero or greater, such as 1e-4",
    ),
]
_Smallest = Annotated[
    int,
    Least(
        minimum=0,
        what="{key} is negative: {value}",
        fix="write the smallest size that occurs, usually 1",
    ),
]
_Largest = Annotated[
    int,
    Least(
        minimum=2,
        what="{key} is {value}",
        why="a dynamic dimension needs a size of at least 2 to be traced with",
        fix="raise max, or write the size in the shapes instead of the name",
    ),
]
_Multiple = Annotated[
    int,
    Least(
        minimum=1,
        what="{key} is {value}",
        fix="write the number of which every size is a multiple, such as 8",
    ),
]
_ExampleSize = Annotated[
    int,
    Least(
        minimum=2,
        what="{key} is {value}",
        why="torch.export fixes a dimension whose example has the size 0 or 1",
        fix="choose an example of at least 2; sizes from min on still work",
    ),
]
_Plain = Annotated[Any, "plain"]


@dataclass(frozen=True, kw_only=True)
class Dim:
    """A dynamic dimension, named in the shapes of a model's inputs."""

    min: _Smallest = 1
    """Smallest size that the compiled model accepts."""

    max: _Largest | None = None
    """Largest size that the compiled model accepts; without it there is no upper limit."""

    multiple_of: _Multiple = 1
    """Every size is a multiple of this number."""

    example: _ExampleSize | None = None
    """Size in the example input that the model is traced with; chosen when left out."""

    auto: bool = False
    """Whether torch.export finds out if the dimension can be dynamic, and in which range, inside
    ``min`` and ``max``; ``"auto"`` is short for ``{ auto = true }``."""


@dataclass(frozen=True, kw_only=True)
class TensorInput:
    """A tensor that ``forward()`` takes."""

    shape: list[_Size]
    """Size of each dimension: a number, the name of a dynamic dimension of ``dims``, or a size
    derived from one, such as ``"2*batch"`` or ``"seq+1"``."""

    dtype: _Dtype | None = None
    """Name of the torch dtype; the model's own ``dtype``, or float32, when left out."""

    min: _Bound | None = None
    """Smallest value in example data; 0 for integers."""

    max: _Bound | None = None
    """Largest value in example data; 1 for integers, so that it is an index of any table."""

    values: Literal["uniform", "normal", "integers"] | None = None
    """How example data is drawn: floating-point data is normal, or uniform between ``min`` and
    ``max`` where one is given; ``integers`` draws whole numbers."""


@dataclass(frozen=True, kw_only=True)
class ConstantInput:
    """A parameter of ``forward()`` that is no tensor and always has the same value."""

    value: bool | int | float | str | None = None
    """The value."""

    none: bool = False
    """Whether the value is None, which TOML cannot write."""


Input: TypeAlias = "TensorInput | ConstantInput | list[Input] | dict[str, Input]"
"""What ``forward()`` takes for a parameter; arrays are tuples, tables are dicts."""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """How close the compiled model has to be to the eager one.

    An element passes when ``abs(compiled - eager) <= atol + rtol * abs(eager)``.
    """

    rtol: _Tolerance | None = None
    """Relative tolerance; the default follows the dtype (1e-4 for float32)."""

    atol: _Tolerance | None = None
    """Absolute tolerance; the default follows the dtype and the largest eager value."""


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """What differs for one device or target."""

    inductor: dict[str, _Plain] = field(default_factory=dict)
    """Options of torch's Inductor, over those of the model."""

    verify: Verify | _CheckFunction | None = None
    """Tolerances over those of the model's ``verify``, or a check function in its place."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How models are built.

    Written in ``[tool.aotbuild]`` for all models, in a model's own table for that one, and in
    ``[tool.aotbuild.profiles.<name>]`` for builds with that profile.
    """

    devices: (
        Annotated[
            list[_Device],
            NotEmpty(what="no device is listed", fix='write devices = ["cpu"]'),
            Unique(what="a device is listed twice", fix="remove one"),
        ]
        | None
    ) = None
    """Device types to compile for; ``["cpu"]`` when left out."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Cast the module and its floating-point inputs to this dtype; a saved program keeps its
    own."""

    quantize: (
        Literal["int8-weight-only", "int4-weight-only", "int8-dynamic-activation-int8-weight"]
        | None
    ) = None
    """Quantise the linear layers by this recipe of torchao, which the build environment needs."""

    verify: Verify | _CheckFunction | None = None
    """Tolerances of the comparison with the eager model, or ``"module:function"``: it is given the
    eager and the compiled result, and returns False or a sentence, or raises, to refuse them."""

    inductor: dict[str, _Plain] = field(default_factory=dict)
    """Options of torch's Inductor by their own names, such as ``{ max_autotune = true }``."""

    targets: dict[_TargetName, TargetSettings] = field(default_factory=dict)
    """Settings for a device (``cpu``) or a target (``cpu-x86-64-v3``) over those above."""

    op_libraries: (
        Annotated[list[_OpLibrary], Unique(what="a library is listed twice", fix="remove one")]
        | None
    ) = None
    """Libraries of custom operators: importable modules, or shared libraries in the project, which
    are packaged. Loaded before the model, in the build and at run time."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """How a model or one of its methods is called."""

    inputs: dict[_InputName, Annotated[Input, "input"]] = field(default_factory=dict)
    """What the method takes, by the names of its parameters: a tensor (``shape``), a constant
    (``value``), an array of these, or a table of these by name. ``*args`` is an array and
    ``**kwargs`` a table."""

    dims: dict[_DimName, Annotated[Dim, "dim"]] = field(default_factory=dict)
    """The dynamic dimensions named in the shapes; the same name means the same size. Methods see
    those of their model."""

    example: _Example | None = None
    """Example data: a file (``.safetensors`` or ``.npz``) with tensors by the names of the
    parameters, or ``"module:function"``, which returns ``(args, kwargs)``."""

    dynamic_shapes: _DynamicShapes | None = None
    """``"module:attribute"``: dynamic shapes in torch.export's own notation, or a function that
    returns them; in place of ``dims``."""


@dataclass(frozen=True, kw_only=True)
class Method(Call):
    """A method of a model that is compiled beside ``forward()`` or in its place."""


@dataclass(frozen=True, kw_only=True)
class Model(Call, Settings):
    """A model to compile."""

    source: _Source
    """``"module:attribute"``: an nn.Module class, a factory that returns one, an instance, or a
    plain function of tensors; or a program saved by torch.export.save, ``"net.pt2"``."""

    args: list[_Plain] = field(default_factory=list)
    """Positional arguments for the class or factory."""

    kwargs: dict[str, _Plain] = field(default_factory=dict)
    """Keyword arguments for the class or factory."""

    weights: _File | None = None
    """File with the state dict (safetensors, or written by torch.save), relative to the project."""

    methods: dict[_MethodName, Method] = field(default_factory=dict)
    """Methods to compile beside ``forward()`` or in its place; they share the model's weights."""


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """PyTorch models that are compiled into the wheel."""

    package: Annotated[str, PACKAGE] | None = None
    """Import package of the compiled models; ``"<project>.models"`` when left out."""

    models: Annotated[
        dict[_ModelName, Model],
        NotEmpty(
            what="no models are declared",
            fix='add a table for each model:\n[tool.aotbuild.models.net]\nsource = "module:Class"',
        ),
    ] = field(default_factory=dict)
    """The models, by the names under which the package offers them."""

    profiles: dict[_ProfileName, Settings] = field(default_factory=dict)
    """Settings over those of the models, for builds with ``AOTBUILD_PROFILE=<name>``. ``debug``
    compiles without optimisation and with checks in the code; ``release`` is the default."""
