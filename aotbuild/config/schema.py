"""What can be written under ``[tool.aotbuild]``: one dataclass per table.

The docstring under each attribute is its documentation: the JSON schema and the reference in docs/
are made of it (``make generate``). A key in TOML is the attribute's name with dashes for
underscores. ``values`` has the rules of single values; ``"input"`` and ``"dim"`` mark those that
can be written in more than one way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeAlias

from aotbuild.config.rules import NotEmpty, Unique
from aotbuild.config.values import (
    DEVICES,
    DTYPES,
    FORWARD,
    PACKAGE,
    Axis,
    Bound,
    BufferName,
    CheckFunction,
    CpuLevel,
    Device,
    DimName,
    Dtype,
    DynamicShapes,
    Example,
    ExampleSize,
    File,
    InputName,
    Largest,
    MaxError,
    MethodName,
    ModelName,
    Multiple,
    OpLibrary,
    Plain,
    ProfileName,
    RecipeName,
    Runners,
    ShapeSize,
    SizeLimit,
    Smallest,
    Source,
    TargetName,
    Tolerance,
    Version,
)
from aotbuild.runtime.dims import Dim
from aotbuild.torch_version import COMPATIBLE

__all__ = [
    "DEVICES",
    "DTYPES",
    "FORWARD",
    "Call",
    "Config",
    "ConstantInput",
    "DeclaredBuffer",
    "DeclaredDim",
    "Input",
    "Method",
    "Model",
    "Settings",
    "TargetSettings",
    "TensorInput",
    "Tune",
    "Verify",
]


AUTO: Final = "auto"
"""Leaves to the build what runs a model."""
STANDALONE: Final = "standalone"
TORCH: Final = "torch"
Runtime: TypeAlias = Literal["auto", "standalone", "torch"]


@dataclass(frozen=True, kw_only=True)
class DeclaredDim(Dim):
    """A dynamic dimension, named in the shapes of a model's inputs."""

    min: Smallest = 1
    """Smallest size that the compiled model accepts."""

    max: Largest | None = None
    """Largest size that the compiled model accepts; without it there is no upper limit."""

    multiple_of: Multiple = 1
    """Every size is a multiple of this number."""

    example: ExampleSize | None = None
    """Size in the example input that the model is traced with; chosen when left out."""

    auto: bool = False
    """Whether torch.export finds out if the dimension can be dynamic, and in which range, inside
    ``min`` and ``max``; ``"auto"`` is short for ``{ auto = true }``."""

    @property
    def range(self) -> Dim:
        """The range alone."""
        return Dim(self.min, self.max, self.multiple_of)


@dataclass(frozen=True, kw_only=True)
class TensorInput:
    """A tensor that ``forward()`` takes."""

    shape: list[ShapeSize]
    """Size of each dimension: a number, the name of a dynamic dimension of ``dims``, or a size
    derived from one, such as ``"2*batch"`` or ``"seq+1"``."""

    dtype: Dtype | None = None
    """Name of the torch dtype; the model's own ``dtype``, or float32, when left out."""

    min: Bound | None = None
    """Smallest value in example data, and in all that the model is verified with: a number, or a
    size as in shapes. In example data it is 0 for integers when left out."""

    max: Bound | None = None
    """Largest value in example data, and in all that the model is verified with: a number, or a
    size as in shapes, such as ``"atoms-1"`` for indices of atoms. In example data it is 1 for
    integers when left out, so that it is an index of any table."""

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
class DeclaredBuffer:
    """A buffer that the model keeps from one call for the next."""

    shape: list[ShapeSize] | None = None
    """Size of each dimension, as of an input; that of the registered buffer when left out, with the
    batch in place of a 1 that the module assigns as many rows to as a call has."""

    counts: dict[BufferName, Axis] = field(default_factory=dict)
    """For a buffer that holds how many entries of caches are in use: the caches, each with the axis
    along which it grows, such as ``{ keys = 2, values = 2 }``. A call that does not fit any more is
    refused, and ``state.truncate()`` goes back."""


@dataclass(frozen=True, kw_only=True)
class Verify:
    """How close the compiled model has to be to the eager one.

    An element passes when ``abs(compiled - eager) <= atol + rtol * abs(eager)``.
    """

    rtol: Tolerance | None = None
    """Relative tolerance; the default follows the dtype (1e-4 for float32)."""

    atol: Tolerance | None = None
    """Absolute tolerance; the default follows the dtype and the largest eager value."""


@dataclass(frozen=True, kw_only=True)
class Tune:
    """How recipes are chosen by measurement, and how much accuracy may be given for speed.

    With ``max-error`` or ``check``, recipes that compute in bfloat16 or with 8-bit integers are
    tried too.
    """

    max_error: MaxError | None = None
    """Largest difference from the eager model that is accepted, by the largest magnitude of the
    output it is in; of 0.01, one percent."""

    check: CheckFunction | None = None
    """``"module:function"``, which accepts or refuses results as that of ``verify`` does."""


@dataclass(frozen=True, kw_only=True)
class TargetSettings:
    """What differs for one device or target."""

    inductor: dict[str, Plain] = field(default_factory=dict)
    """Options of torch's Inductor, over those of the model."""

    verify: Verify | CheckFunction | None = None
    """Tolerances over those of the model's ``verify``, or a check function in its place."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How models are built.

    Written in ``[tool.aotbuild]`` for all models, in a model's own table for that one, and in
    ``[tool.aotbuild.profiles.<name>]`` for builds with that profile.
    """

    devices: (
        Annotated[
            list[Device],
            NotEmpty(what="no device is listed", fix='write devices = ["cpu"]'),
            Unique(what="a device is listed twice", fix="remove one"),
        ]
        | None
    ) = None
    """Device types to compile for; ``["cpu"]`` when left out."""

    cpu_levels: (
        Literal["auto"]
        | Annotated[
            list[CpuLevel],
            NotEmpty(what="no CPU level is listed", fix='write cpu-levels = "auto", or remove it'),
            Unique(what="a CPU level is listed twice", fix="remove one"),
        ]
        | None
    ) = None
    """CPU levels to compile for, of which the best that the CPU has runs; those of other
    architectures than the build's are left out. ``"auto"``, which holds when left out, is
    ``x86-64-v3``, with ``x86-64-v4`` where the build machine has it and it is at least 5% faster;
    on aarch64 it is ``armv8``. The build is for its own machine, or for that of
    ``AOTBUILD_TARGET``."""

    require_verified: bool | None = None
    """Whether the build fails where the build machine cannot run a CPU level, and so cannot compare
    its code with the eager model; false when left out: the build warns, and the manifest says
    so."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Cast the module and its floating-point inputs to this dtype; a saved program keeps its
    own."""

    quantize: (
        Literal["int8-weight-only", "int4-weight-only", "int8-dynamic-activation-int8-weight"]
        | None
    ) = None
    """Quantise the linear layers by this recipe of torchao, which the build environment needs."""

    verify: Verify | CheckFunction | None = None
    """Tolerances of the comparison with the eager model, or ``"module:function"``: it is given the
    eager and the compiled result, and returns False or a sentence, or raises, to refuse them."""

    inductor: dict[str, Plain] = field(default_factory=dict)
    """Options of torch's Inductor by their own names, such as ``{ max_autotune = true }``."""

    recipe: RecipeName | None = None
    """The recipe that a model is compiled by, with which nothing is measured and the lock file is
    left aside: ``"plain"`` is Inductor by itself, without aotbuild's passes over the graph."""

    tune: bool | Tune | None = None
    """Whether the recipe that a model is compiled by is chosen by measuring: true, or a table of
    limits. What was measured is pinned in ``aotbuild.lock.toml``, and a build with a lock file that
    fits measures nothing. When left out, the lock file holds, and without one the recipe follows
    from the kind of graph; false leaves the lock file aside."""

    targets: dict[TargetName, TargetSettings] = field(default_factory=dict)
    """Settings for a device (``cpu``) or a target (``cpu-x86-64-v3``) over those above."""

    strict_dims: bool | None = None
    """Whether the build fails where the compiled code would accept fewer sizes than declared. When
    left out, the build warns, and the smaller range is what is promised and checked; but where the
    model fixes a product of sizes it fails, unless this is false."""

    swappable: bool | None = None
    """Whether every parameter can be read and replaced by itself; false when left out. The package
    then also has the parameters of which the compiled code takes only what was computed from them,
    as those of a batch norm that is folded into a convolution, which makes it larger; and
    Inductor's ``freezing`` is switched off, after which that could not be computed anew. A whole
    state dict can be loaded without it."""

    check_finite: bool | None = None
    """Whether the build fails where a parameter is NaN or infinite, or a buffer is NaN; true when
    left out."""

    num_runners: Runners | None = None
    """How many calls of the model run at once, 1 when left out; further ones wait for their turn.
    They share the weights. ``net.pool()`` makes more at run time."""

    runtime: Runtime | None = None
    """What runs the model where the wheel is installed. ``"standalone"``: the library has what it
    needs in itself; the build fails where the model needs an operator that only torch has.
    ``"torch"``: the library calls functions of torch, which the wheel requires. ``"auto"``, which
    holds when left out: stand-alone where that is possible, else torch, and the log says what needs
    it. A wheel whose models are all stand-alone requires no torch."""

    fallback: Literal["eager"] | None = None
    """``"eager"``: the package also carries the traced program, which torch runs uncompiled where
    no compiled variant fits."""

    op_libraries: (
        Annotated[list[OpLibrary], Unique(what="a library is listed twice", fix="remove one")]
        | None
    ) = None
    """Libraries of custom operators: importable modules, or shared libraries in the project, which
    are packaged. Loaded before the model, in the build and at run time."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """How a model or one of its methods is called."""

    inputs: dict[InputName, Annotated[Input, "input"]] = field(default_factory=dict)
    """What the method takes, by the names of its parameters: a tensor (``shape``), a constant
    (``value``), an array of these, or a table of these by name. ``*args`` is an array and
    ``**kwargs`` a table."""

    dims: dict[DimName, Annotated[DeclaredDim, "dim"]] = field(default_factory=dict)
    """The dynamic dimensions named in the shapes; the same name means the same size. Methods see
    those of their model."""

    example: Example | None = None
    """Example data: a file (``.safetensors`` or ``.npz``) with tensors by the names of the
    parameters, or ``"module:function"``, which returns ``(args, kwargs)``."""

    dynamic_shapes: DynamicShapes | None = None
    """``"module:attribute"``: dynamic shapes in torch.export's own notation, or a function that
    returns them; in place of ``dims``."""


@dataclass(frozen=True, kw_only=True)
class Method(Call):
    """A method of a model that is compiled beside ``forward()`` or in its place."""


@dataclass(frozen=True, kw_only=True)
class Model(Call, Settings):
    """A model to compile."""

    source: Source
    """``"module:attribute"``: an nn.Module class, a factory that returns one, an instance, or a
    plain function of tensors; or a program saved by torch.export.save, ``"net.pt2"``."""

    args: list[Plain] = field(default_factory=list)
    """Positional arguments for the class or factory."""

    kwargs: dict[str, Plain] = field(default_factory=dict)
    """Keyword arguments for the class or factory."""

    weights: File | None = None
    """File with the state dict (safetensors, or written by torch.save), relative to the project;
    ``"net.pt#model"`` is the one under the key ``model`` of a checkpoint. ``"random"`` says that
    the weights which a class draws at random are meant to be shipped."""

    state: dict[BufferName, DeclaredBuffer] = field(default_factory=dict)
    """What the model keeps from one call for the next, by the names of its buffers. A buffer that a
    call changes need not be declared, unless its shape is another for each batch, or it counts the
    entries of caches."""

    methods: dict[MethodName, Method] = field(default_factory=dict)
    """Methods to compile beside ``forward()`` or in its place; they share the model's weights."""


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """PyTorch models that are compiled into the wheel."""

    package: Annotated[str, PACKAGE] | None = None
    """Import package of the compiled models; when left out, ``models`` in the package that the
    wheel installs, such as ``"digits.models"``."""

    torch: Literal["compatible", "minor", "exact", "symbols"] = COMPATIBLE
    """Which versions of torch the wheel runs with. ``compatible``: ``>=2.13``, where torch promises
    to keep all that the compiled code calls; else as ``minor``, and the log says why. ``minor``:
    those of the minor version that it is built with, ``>=2.13,<2.14``. ``exact``: that version
    alone, ``==2.13.0``, with its local version where it has one. ``symbols``: newer ones too,
    ``>=2.13``, which are refused only where a function is missing; one that has changed gives wrong
    results or a crash."""

    size_limit: SizeLimit = 100
    """Size in MB above which the build warns, and tells what would make the package smaller;
    100 is a common limit of package indexes."""

    weights_in: Literal["wheel", "companion", "file"] = "wheel"
    """Where the weights of the package are: in its wheel; in a wheel of their own,
    ``<project>-weights``, which the first one requires; or in a file, which ``AOTBUILD_WEIGHTS``
    names at run time. The build writes the latter two into ``weights-out``."""

    weights_out: str = "dist"
    """Directory for what ``weights-in`` puts apart, relative to the project;
    ``AOTBUILD_WEIGHTS_OUT`` goes over it."""

    weights_version: Version | None = None
    """Version of the wheel of the weights; ``project.version`` when left out."""

    models: Annotated[
        dict[ModelName, Model],
        NotEmpty(
            what="no models are declared",
            fix='add a table for each model:\n[tool.aotbuild.models.net]\nsource = "module:Class"',
        ),
    ] = field(default_factory=dict)
    """The models, by the names under which the package offers them."""

    profiles: dict[ProfileName, Settings] = field(default_factory=dict)
    """Settings over those of the models, for builds with ``AOTBUILD_PROFILE=<name>``. ``debug``
    compiles without optimisation and with checks in the code; ``release`` is the default."""
