"""What can be written under ``[tool.aotbuild]``: one dataclass per table.

The docstring under each attribute is its documentation. A key in TOML is the attribute's name
with dashes for underscores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

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


@dataclass(frozen=True, kw_only=True)
class Dim:
    """A dynamic dimension, named in the shapes of a model's inputs."""

    min: int = 1
    """Smallest size that the compiled model accepts."""

    max: int | None = None
    """Largest size that the compiled model accepts; without it there is no upper limit."""

    example: int | None = None
    """Size in the example input that the model is traced with; chosen when left out."""


@dataclass(frozen=True, kw_only=True)
class TensorInput:
    """A tensor that ``forward()`` takes."""

    shape: list[int | str]
    """Size of each dimension; a name stands for a dynamic dimension of ``dims``."""

    dtype: str = "float32"
    """Name of the torch dtype."""

    min: float | None = None
    """Smallest value in example data; 0 for integers."""

    max: float | None = None
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

    rtol: float | None = None
    """Relative tolerance; the default follows the dtype (1e-4 for float32)."""

    atol: float | None = None
    """Absolute tolerance; the default follows the dtype and the largest eager value."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model to compile, ``[tool.aotbuild.models.<name>]``."""

    source: str
    """``"module:attribute"``: an nn.Module class, a factory that returns one, or an instance."""

    args: list[Any] = field(default_factory=list)
    """Positional arguments for the class or factory."""

    kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments for the class or factory."""

    weights: str | None = None
    """File with the state dict (safetensors, or written by torch.save), relative to the project."""

    inputs: dict[str, Annotated[Input, "input"]] = field(default_factory=dict)
    """What ``forward()`` takes, by the names of its parameters: a tensor (``shape``), a constant
    (``value``), an array of these, or a table of these by name."""

    dims: dict[str, Dim] = field(default_factory=dict)
    """The dynamic dimensions named in the shapes; the same name means the same size."""

    devices: list[str] = field(default_factory=lambda: ["cpu"])
    """Device types to compile for."""

    verify: Verify = field(default_factory=Verify)
    """Tolerances of the comparison with the eager model."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """``[tool.aotbuild]``."""

    package: str | None = None
    """Import package of the compiled models; ``"<project>.models"`` when left out."""

    models: dict[str, Model] = field(default_factory=dict)
    """The models, by the names under which the package offers them."""
