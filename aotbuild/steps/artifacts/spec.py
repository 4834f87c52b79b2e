"""Specifications of steps: all that a step has to know, one JSON file each, written by the plan.

Paths inside the build are relative to its directory, where every step runs.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aotbuild.config.parse import parse_table
from aotbuild.config.schema import TORCH, Model, Tune, Verify
from aotbuild.steps.artifacts.weights_index import WEIGHTS

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a step was planned for; another version of either runs the step again."""

    aotbuild: str
    torch: str


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """Trace a model once for a device: source, weights and inputs become a program per method."""

    name: str
    device: str
    declaration: Model
    project: str
    """Directory of the project."""
    package: str
    """Import package of the compiled models, which does not exist yet."""
    import_paths: list[str]
    output: str
    """Directory for all that the step writes, with a directory for each method: which files these
    are tells the docstring of ``aotbuild.steps.artifacts``."""
    tools: Tools


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """What the lock file says about a method for a target."""

    recipe: str
    program: str
    """Fingerprint of the program that was measured."""
    settings: str
    """Fingerprint of the settings that it was measured with."""
    error: float = 0.0
    """What the recipe loses of accuracy."""


@dataclass(frozen=True, kw_only=True)
class CompileSpec:
    """Compile an exported program for a target."""

    model: str
    method: str
    target: str
    project: str
    import_paths: list[str]
    package: str
    options: dict[str, Any]
    """Options of Inductor."""
    strict_dims: bool = False
    """Whether fewer sizes than declared are an error."""
    chosen: list[str] = field(default_factory=list)
    """Dimensions whose example size is declared: no other one is tried."""
    quantize: str | None = None
    runtime: str = TORCH
    """What runs the library."""
    swappable: bool = False
    """Whether every parameter has to be replaceable."""
    allowed: Tune | None = None
    """What a recipe may lose of accuracy, if anything."""
    pinned: Pinned | None = None
    """What the lock file has."""
    tuned: str = ""
    """The file with the recipe that the step tune chose, if there is that step."""
    recipe: str = ""
    """The recipe, where it is not to be chosen."""
    passes: list[str] | None = None
    """Passes that are applied to the graph; None for all."""
    exported: str
    """The export's directory of this method."""
    output: str
    """Directory for ``library.so``, ``weights.safetensors`` and ``compiled.json``."""
    tools: Tools


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """Compile the engine that runs the models of the package on the CPU."""

    output: str
    """Directory for the extension module and ``engine.json``."""
    architecture: str = ""
    """What it is compiled for, if that is not this machine's."""
    tools: Tools


@dataclass(frozen=True, kw_only=True)
class VerifySpec:
    """Compare a compiled library with the eager model."""

    model: str
    method: str
    target: str
    project: str
    import_paths: list[str]
    package: str
    source: str
    verify: Verify | str | None = None
    quantize: str | None = None
    """With it, the eager model is also compared as it was before it was quantised."""
    allowed: Tune | None = None
    """What a recipe may lose of accuracy, if anything."""
    require_verified: bool = False
    """Whether it is an error that this machine cannot run the library."""
    exported: str
    compiled: str
    engine: str
    """Directory of the engine."""
    output: str
    """Directory for ``verified.json``."""
    tools: Tools


@dataclass(frozen=True, kw_only=True)
class TuneSpec:
    """Find out by which recipe a method is the fastest on a target."""

    compile: CompileSpec
    """How it is compiled by whichever recipe."""
    verify: VerifySpec
    source: str
    output: str
    """Directory for the candidates, ``recipe.json`` and ``tuned.json``."""
    tools: Tools


@dataclass(frozen=True, kw_only=True)
class LevelsSpec:
    """Find out which CPU levels are so much faster that they are worth their place."""

    model: str
    method: str
    project: str
    import_paths: list[str]
    package: str
    source: str
    exported: str
    variants: list[str]
    """Directories of the compiled variants, the lowest level first, which is kept in any case."""
    engine: str
    """Directory of the engine."""
    output: str
    """The file."""
    tools: Tools


@dataclass(frozen=True, kw_only=True)
class MethodParts:
    """A method of a model in a bundle: its export, and its compiled and verified variants."""

    model: str
    method: str
    source: str
    exported: str
    variants: list[str]
    levels: list[str] = field(default_factory=list)
    """Files that tell which of them are left out."""
    runners: int = 1
    """How many calls run at once."""
    swappable: bool = False
    """Whether every parameter is in the package."""


@dataclass(frozen=True, kw_only=True)
class SeparateWeights:
    """Weights that are not in the wheel."""

    package: str
    file: str
    """The weights file, or the wheel that holds it."""
    requirement: str = ""
    """The distribution that holds the weights; empty where they are a file."""

    @property
    def module(self) -> str:
        """The import package of that distribution."""
        return self.requirement.partition("==")[0].replace("-", "_")

    @property
    def weights(self) -> str:
        """The name of the weights file."""
        return WEIGHTS if self.requirement else Path(self.file).name


@dataclass(frozen=True, kw_only=True)
class BundleSpec:
    """Make the import package of all models."""

    package: str
    project: str
    name: str = ""
    """Of the project."""
    version: str = ""
    """Of the project; empty where it is not known."""
    license: str = ""
    """What the project says of its licence, mostly an SPDX expression."""
    parts: list[MethodParts]
    engine: str
    """Directory of the engine."""
    tuned: list[str] = field(default_factory=list)
    """Files that tell what steps of this build measured, for the lock file."""
    torch: str = "minor"
    """Which versions of torch the package runs with, as in the declaration."""
    required: str = ""
    """Those that its wheel requires; empty where that is not known."""
    size_limit: int = 100
    """In MB."""
    apart: SeparateWeights | None = None
    """Where the weights are, if not in the package."""
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Files of weights that the wheel holds beside the compiled ones: their paths in the project by
    those in the wheel."""
    develop: str = ""
    """``eager`` or ``compiled`` for what ``aotbuild develop`` installs: a package that tells where
    it is older than what it was made of."""
    commands: dict[str, str] = field(default_factory=dict)
    """What the log has of the other steps, by their specification files."""
    output: str
    """Directory of the package."""
    metadata: str
    """Directory of what goes into the wheel's ``.dist-info``."""
    tools: Tools


def as_table(value: Any) -> Any:
    """A dataclass as a table of the shape that ``parse_table`` reads."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {
            key.replace("_", "-"): as_table(item) for key, item in pairs.items() if item is not None
        }
    if isinstance(value, dict):
        return {key: as_table(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_table(item) for item in value]
    return value


def spec_text(spec: Any) -> str:
    """The text of a specification file."""
    return json.dumps(as_table(spec), indent=1, default=str) + "\n"


def read_spec(cls: type[T], path: Path) -> T:
    """Read a specification file."""
    return parse_table(cls, json.loads(path.read_text(encoding="utf-8")), path.name)
