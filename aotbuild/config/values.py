"""Kinds of values in the declaration: types with the rules that a type does not say."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeAlias

from aotbuild.config.rules import (
    DOTTED,
    FILE,
    Choice,
    Pattern,
    Within,
    file_with,
    name_of,
    reference_to,
)
from aotbuild.config.sizes import SIZE
from aotbuild.target import LEVELS, TARGETS

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

STATE = "state"
"""The argument by which callers pass what a model keeps between calls."""

PROGRAM_SUFFIXES = (".pt2",)
"""Endings of programs saved by torch.export.save."""

EXAMPLE_SUFFIXES = (".safetensors", ".npz")
"""Endings of files with example data."""

LIBRARY_SUFFIXES = (".so", ".dylib", ".dll")
"""Endings of shared libraries."""

RANDOM = "random"
"""In place of a file of weights: those that a class draws at random are meant."""

PACKAGE = Pattern(
    what='"{value}" is not the name of an import package',
    fix='write dotted Python names, such as package = "digits.models"',
    regex=DOTTED,
    repair=lambda text: re.sub(r"[^\w.]", "_", text.replace("/", ".")),
)
"""The rule for the name of the package, also where it follows from that of the project."""

_RESERVED_MODELS = ("runtime", "set_num_threads", "weights")

ModelName = Annotated[
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
MethodName = Annotated[
    str,
    name_of(
        "method",
        fix="name a method of the module, without a leading underscore, other than device and "
        f"target; inputs and dims of {FORWARD}() stand in the model's own table",
        private=False,
        reserved=(FORWARD, "device", "target"),
    ),
]
InputName = Annotated[
    str,
    name_of(
        "input",
        why="inputs have the names of the parameters of forward()",
        fix="use the parameter's name as forward() spells it; rename a parameter called self, "
        "which methods use themselves",
        reserved=("self",),
    ),
]
BufferName = Annotated[
    str,
    Pattern(
        what='"{value}" cannot be the name of a buffer',
        fix='write the name as the state dict of the module has it, such as "encoder.hidden"; with '
        '* it stands for all that it fits, such as "layers.*.keys"',
        regex=r"[\w*]+(\.[\w*]+)*",
        names=False,
        noun="buffer",
    ),
]
Axis = Annotated[
    int,
    Within(
        minimum=0,
        what="an axis cannot be negative: {value}",
        fix="count the axes of the shape from 0",
    ),
]
DimName = Annotated[str, name_of("dimension", fix="use a Python name, such as batch")]
ProfileName = Annotated[
    str,
    Pattern(
        what='"{value}" cannot be the name of a profile',
        fix="use letters, digits, dashes and underscores",
        regex=r"[\w-]+",
        names=False,
        noun="profile",
    ),
]
TargetName = Annotated[
    str, Choice(what='there is no device or target "{value}"', choices=(*DEVICES, *TARGETS))
]

Dtype = Annotated[str, Choice(what='there is no dtype "{value}"', choices=DTYPES)]
Device = Annotated[
    str,
    Choice(what='"{value}" is not a device that models can be compiled for', choices=DEVICES),
]
CpuLevel = Annotated[
    str,
    Choice(what='there is no CPU level "{value}"', choices=LEVELS),
]
Source = Annotated[
    str,
    reference_to(
        "source",
        fix='write "module:attribute", such as "digits.network:Net", or the path of a saved '
        'program in the project, such as "programs/net.pt2"',
        suffixes=PROGRAM_SUFFIXES,
    ),
]
Example = Annotated[
    str,
    reference_to(
        "example",
        fix='write "module:attribute", such as "digits.data:example", or the path of a '
        ".safetensors or .npz file in the project",
        suffixes=EXAMPLE_SUFFIXES,
    ),
]
DynamicShapes = Annotated[
    str,
    reference_to(
        "reference to dynamic shapes",
        fix='write "module:attribute", such as "digits.data:dynamic_shapes"',
    ),
]
CheckFunction = Annotated[
    str,
    reference_to(
        "check",
        fix='write "module:attribute", such as "digits.checks:accurate", '
        "or { rtol = ..., atol = ... }",
    ),
]
File = Annotated[
    str,
    Pattern(
        what='"{value}" is not a file inside the project',
        why="the file is part of the source distribution",
        fix="write a path relative to pyproject.toml, with slashes and without ..",
        regex=FILE,
        names=False,
    ),
]
Version = Annotated[
    str,
    Pattern(
        what='"{value}" is not a version',
        fix='write numbers and dots, such as "1.0"',
        regex=r"\d+(\.\d+)*",
        names=False,
    ),
]
OpLibrary = Annotated[
    str,
    Pattern(
        what='"{value}" is neither a module nor a shared library',
        fix='write the name of a module, such as "mypkg.ops", or the path of a library in the '
        'project, such as "libs/libmyops.so"',
        regex=f"(?:{DOTTED})|(?:{file_with(LIBRARY_SUFFIXES)})",
        names=False,
    ),
]

ShapeSize: TypeAlias = (
    Annotated[
        int,
        Within(
            minimum=0,
            what="a size cannot be negative: {value}",
            why="a dynamic dimension has a name instead of a size",
            fix='write the size, or for a dynamic dimension a name of dims, such as "batch"',
        ),
    ]
    | Annotated[str, SIZE]
)
Bound: TypeAlias = (
    Annotated[
        float,
        Within(
            what="{key} is not a finite number: {value}", fix="write a number, or remove the key"
        ),
    ]
    | Annotated[str, SIZE]
)
Tolerance = Annotated[
    float,
    Within(
        minimum=0,
        what="{key} is not a tolerance: {value}",
        fix="write a number that is zero or greater, such as 1e-4",
    ),
]
MaxError = Annotated[
    float,
    Within(
        minimum=0,
        what="{key} is not an error: {value}",
        fix="write a number that is zero or greater, such as 1e-2 for one percent",
    ),
]
RecipeName = Literal[
    "passes",
    "plain",
    "frozen",
    "frozen-passes",
    "frozen-prepacked",
    "gemm-templates",
    "channels-last",
    "concat-linear",
    "attention-math",
]
"""The recipes that compute as exactly as the model; ``build/recipes.py`` says how."""
Smallest = Annotated[
    int,
    Within(
        minimum=0,
        what="{key} is negative: {value}",
        fix="write the smallest size that occurs, usually 1",
    ),
]
Largest = Annotated[
    int,
    Within(
        minimum=2,
        what="{key} is {value}",
        why="a dynamic dimension needs a size of at least 2 to be traced with",
        fix="raise max, or write the size in the shapes instead of the name",
    ),
]
Multiple = Annotated[
    int,
    Within(
        minimum=1,
        what="{key} is {value}",
        fix="write the number of which every size is a multiple, such as 8",
    ),
]
ExampleSize = Annotated[
    int,
    Within(
        minimum=2,
        what="{key} is {value}",
        why="torch.export fixes a dimension whose example has the size 0 or 1",
        fix="choose an example of at least 2; sizes from min on still work",
    ),
]
Runners = Annotated[
    int,
    Within(
        minimum=1,
        maximum=64,
        what="{key} is {value}",
        fix="write how many calls may run at once, 1 to 64",
    ),
]
SizeLimit = Annotated[
    int,
    Within(minimum=1, what="{key} is {value}", fix="write a size in MB, such as 100"),
]
Plain = Annotated[Any, "plain"]
