"""What is in a wheel or a package, as data: ``inspect --json`` prints these classes as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

from aotbuild.config.values import LIBRARY_SUFFIXES
from aotbuild.errors import InspectError
from aotbuild.runtime.errors import ModelLoadError
from aotbuild.runtime.manifest import Manifest, Variant
from aotbuild.steps.artifacts.verification import SELFTEST
from aotbuild.steps.reports.contents import Contents
from aotbuild.steps.reports.describing import returns, takes

FORMAT = 1
"""Version of the report."""

_OPERATOR = ("aoti_torch_cpu_", "aoti_torch_cuda_", "aoti_torch_xpu_", "aoti_torch_mps_")
_DISPATCHED = {"aoti_torch_call_dispatcher", "aoti_torch_proxy_executor_call_function"}

_TOLD = {"package", "project", "version", "format"}
"""What of a provenance the rest of a report tells as well."""

Part = Literal["libraries", "weights", "runtime", "C interface", "self-test", "rest"]


@dataclass(frozen=True)
class VariantReport:
    """A model compiled for one target."""

    target: str
    device: str
    platform: str
    requires: list[str]
    """Features of the CPU."""
    runtime: Literal["standalone", "torch"]
    torch: str
    """The versions of torch that run it; empty where it needs none."""
    operators: list[str]
    """Those that torch runs for it."""
    file: str
    size: int
    sha256: str
    compiled: dict[str, Any]
    """By what: versions, options, recipe and passes."""
    verified: dict[str, Any]
    """What the comparison with the eager model gave, when it was built."""


@dataclass(frozen=True)
class ModelReport:
    """A model, or a method of one."""

    name: str
    source: str
    about: str
    takes: list[str]
    returns: list[str]
    inputs: list[dict[str, Any]]
    """Name, dtype and shape of each tensor."""
    dims: dict[str, dict[str, Any]]
    """The sizes that each dimension may have."""
    conditions: list[str]
    """What else must hold between sizes."""
    changed: list[str]
    """The arguments that a call changes in place, but for its state."""
    state: list[str]
    """What is kept between calls."""
    elements: int
    """Of its parameters and buffers."""
    weights: int
    """Bytes of the weights that its libraries read; of variants that share some, once."""
    fallback: bool
    """Whether eager torch runs it where no variant fits."""
    variants: list[VariantReport]


@dataclass(frozen=True)
class PackageReport:
    """A package of compiled models."""

    package: str
    weights: dict[str, Any]
    """The file of the weights, its size and digest, and where it is if not in the package."""
    models: list[ModelReport]


@dataclass(frozen=True)
class Report:
    """All that is told of a wheel, an installed distribution, a package or a library."""

    where: str
    kind: str
    name: str
    version: str
    requires_python: str
    requires: list[str]
    """What must be installed with it; extras are left out."""
    size: int
    """Bytes of the wheel; 0 where it is none."""
    installed: int
    """Bytes of its files."""
    parts: dict[str, int]
    """The same by parts."""
    packages: list[PackageReport]
    provenance: dict[str, Any]
    """Licence, tools and files of the project, as the build has told them; empty where unknown."""
    format: int = FORMAT


def compilers(packages: Iterable[PackageReport]) -> list[str]:
    """The compilers of all variants, as they tell their names and versions."""
    every = [v.compiled for package in packages for m in package.models for v in m.variants]
    return sorted({compiled["compiler"] for compiled in every if "compiler" in compiled})


def make_report(contents: Contents, only: str = "") -> Report:
    """Read what a wheel, a distribution or a directory has.

    Args:
        contents: Its files.
        only: The library of which alone is told, by the end of its path; all where empty.

    Raises:
        InspectError: There are no models in it, or what tells of them is damaged.
    """
    places = contents.packages()
    packages = [_package(contents, place, only) for place in places]
    if not packages:
        raise InspectError(
            "there are no compiled models in it",
            where=contents.where,
            why="none of its directories has the files that aotbuild puts beside models",
            fix="name a wheel or a package that aotbuild built, or the package inside it; "
            "python -m aotbuild check, in the project, tells whether a build would add models",
        )
    of = contents.metadata
    requires = [str(line) for line in (of.get_all("Requires-Dist") or [])] if of else []
    return Report(
        contents.where,
        contents.kind,
        str(of["Name"]) if of else "",
        str(of["Version"]) if of else "",
        str(of["Requires-Python"] or "") if of else "",
        [line for line in requires if "extra ==" not in line.partition(";")[2]],
        contents.packed,
        sum(contents.sizes.values()),
        _parts(contents.sizes, places, packages),
        packages,
        {key: value for key, value in contents.provenance.items() if key not in _TOLD},
    )


def _package(contents: Contents, place: str, only: str) -> PackageReport:
    prefix = f"{place}/" if place else ""
    inside = [name for name in sorted(contents.sizes) if name.startswith(prefix)]
    # A model's directory, or that of one of its methods.
    found = [
        name
        for name in inside
        if name.endswith("/model.json") and name.removeprefix(prefix).count("/") < 3
    ]
    manifests = [_read(contents.root, name, contents.where) for name in found]
    weights = manifests[0].weights if manifests else None
    return PackageReport(
        _import_path(contents, place),
        {
            "file": weights.file,
            "size": weights.size,
            "sha256": weights.sha256,
            "apart": manifests[0].apart,
        }
        if weights
        else {},
        [
            _model(manifest, prefix, only)
            for manifest in manifests
            if not only or any(only == v.library.file for v in manifest.variants)
        ],
    )


def _import_path(contents: Contents, place: str) -> str:
    """The name by which a package is imported, as far as the directories tell it."""
    names = place.split("/") if place else []
    root = contents.root
    if contents.kind == "package" and isinstance(root, Path):
        path = root.resolve() / place
        names = [path.name]
        while (path.parent / "__init__.py").is_file():
            path = path.parent
            names.insert(0, path.name)
    return ".".join(names)


def _read(root: Traversable, name: str, where: str) -> Manifest:
    file = root
    for part in name.split("/"):
        file = file.joinpath(part)
    try:
        return Manifest.read(file)
    except (ModelLoadError, BadZipFile) as error:
        raise InspectError(
            "a model's manifest cannot be used",
            where=where,
            why=str(error),
            fix="if another version of aotbuild built it, inspect it with that version, or a newer "
            "one; else it is damaged",
        ) from None


def _model(manifest: Manifest, prefix: str, only: str) -> ModelReport:
    inputs = manifest.inputs
    arguments = inputs[: len(inputs) - len(manifest.held)]
    shared = {
        constant.tensor: constant.size
        for variant in manifest.variants
        for constant in variant.constants
    }
    return ModelReport(
        manifest.name,
        manifest.source,
        manifest.about,
        takes(inputs, manifest.in_spec, manifest.dims),
        list(returns(manifest.outputs)),
        [
            {"name": each.name, "dtype": each.dtype, "shape": [_plain(s) for s in each.shape]}
            for each in inputs
        ],
        {
            name: {"min": dim.min, "max": dim.max, "multiple_of": dim.multiple_of}
            for name, dim in manifest.dims.items()
        },
        manifest.conditions,
        [each.name for each in arguments if each in (inputs[i] for i in manifest.changed)],
        [
            f"{each.name} {each.dtype} [{', '.join(map(str, each.shape))}]"
            for each in manifest.buffers
        ],
        sum(math.prod(entry.shape) for entry in {e.key: e for e in manifest.state}.values()),
        sum(shared.values()),
        manifest.fallback is not None,
        [
            _variant(variant, manifest.torch, prefix)
            for variant in manifest.variants
            if not only or only == variant.library.file
        ],
    )


def _variant(variant: Variant, torch: str, prefix: str) -> VariantReport:
    return VariantReport(
        variant.target,
        variant.device,
        variant.platform,
        variant.requires,
        "standalone" if variant.standalone else "torch",
        "" if variant.standalone else torch,
        sorted(_operators(variant.symbols)),
        f"{prefix}{variant.library.file}",
        variant.library.size,
        variant.library.sha256,
        variant.compiled,
        variant.verified,
    )


def _operators(symbols: Mapping[str, str]) -> Iterable[str]:
    for symbol in symbols:
        for prefix in _OPERATOR:
            if symbol.startswith(prefix):
                yield symbol.removeprefix(prefix)
        if symbol in _DISPATCHED:
            yield "others, by torch's dispatcher"


def _parts(
    sizes: Mapping[str, int], places: Iterable[str], packages: Iterable[PackageReport]
) -> dict[str, int]:
    """The bytes of each part; they add up to all."""
    parts: dict[Part, int] = {}
    models = {name.removesuffix("/model.json") for name in sizes if name.endswith("/model.json")}
    roots = [f"{place}/" if place else "" for place in places]
    weights = {
        f"{root}{package.weights['file']}"
        for root, package in zip(roots, packages, strict=True)
        if package.weights
    }
    for name, size in sizes.items():
        inside = next((name.removeprefix(root) for root in roots if name.startswith(root)), "")
        part: Part = "rest"
        if name.endswith(LIBRARY_SUFFIXES) and name.rpartition("/")[0] in models:
            part = "libraries"
        elif name in weights:
            part = "weights"
        elif inside.startswith("_runtime/"):
            part = "runtime"
        elif inside.startswith("_c/"):
            part = "C interface"
        elif inside.endswith(f"/{SELFTEST}"):
            part = "self-test"
        parts[part] = parts.get(part, 0) + size
    return {**dict(sorted(parts.items(), key=lambda item: -item[1]))}


def _plain(size: Any) -> int | str:
    return size if isinstance(size, int) else str(size)
