"""The import package of compiled models: libraries, weights, manifests and generated modules."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version

from aotbuild.config.resolve import is_library_file
from aotbuild.config.schema import FORWARD
from aotbuild.runtime.derived import compute
from aotbuild.runtime.integrity import identify
from aotbuild.runtime.machine import this_platform
from aotbuild.runtime.manifest import (
    Constant,
    Fallback,
    File,
    Manifest,
    SelfTest,
    Variant,
    read_selftest,
)
from aotbuild.runtime.weights import WEIGHTS_VARIABLE
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.eager_program import EAGER, Eager
from aotbuild.steps.artifacts.engine_library import ENGINE
from aotbuild.steps.artifacts.export_weights import Stored
from aotbuild.steps.artifacts.library import COMPUTED_WEIGHTS, LIBRARY, PROXY_NODES
from aotbuild.steps.artifacts.spec import SeparateWeights
from aotbuild.steps.artifacts.verification import SELFTEST
from aotbuild.steps.artifacts.weights_file import open_tensors, write_weights
from aotbuild.steps.artifacts.weights_index import WEIGHTS
from aotbuild.steps.package import generate
from aotbuild.steps.package.folded import kept_parameters
from aotbuild.steps.sources import source_directory
from aotbuild.target import TARGETS
from aotbuild.torch_version import runtime_range


@dataclass(frozen=True)
class Part:
    """A method of a model of the package."""

    model: str
    method: str
    source: str
    exported: Path
    variants: Sequence[tuple[Path, Mapping[str, Any] | None]]
    """For each variant the directory of its library, and what verifying it gave, if known."""
    runners: int = 1
    """How many calls run at once."""
    swappable: bool = False
    """Whether every parameter is in the package, also where libraries only take what is computed
    from it."""

    @property
    def directory(self) -> str:
        """Its directory in the package."""
        return self.model if self.method == FORWARD else f"{self.model}/{self.method}"


def write_package(
    directory: Path,
    parts: Sequence[Part],
    project: Path,
    native: Path,
    torch_policy: str = "minor",
    apart: SeparateWeights | None = None,
) -> list[Manifest]:
    """Write a package into a new directory.

    Args:
        directory: The package's directory; it is made.
        parts: The methods of the models.
        project: Directory of the project, which holds the libraries of operators.
        native: Directory of the native engine, if there is one.
        torch_policy: Which versions of torch it runs with, as in the declaration.
        apart: Where the weights will be, if not in the package. Here they are in it all the same.

    Returns:
        The manifests of the methods.
    """
    directory.mkdir(exist_ok=True)
    records = {path: BuildRecord.read(path) for part in parts for path, _ in part.variants}
    eager = {part.exported: Eager.read(part.exported) for part in parts}
    stored = {path: Stored.read(path) for path in {part.exported.parent for part in parts}}
    name = apart.weights if apart else WEIGHTS
    constants, weights = _write_pool(directory / name, parts, records, eager, stored)
    place = (apart.requirement or WEIGHTS_VARIABLE) if apart else ""
    models: dict[str, list[Manifest]] = {}
    for part in parts:
        (directory / part.directory).mkdir(parents=True, exist_ok=True)
        kept = [
            constants[part.exported, key]
            for key in _kept(part, records, stored[part.exported.parent])
        ]
        manifest = _manifest(directory, part, records, constants, weights, project, torch_policy)
        fallback = _fallback(directory, part, eager[part.exported], constants)
        state = stored[part.exported.parent].state
        manifest = dataclasses.replace(
            manifest, state=state, fallback=fallback, apart=place, kept=kept
        )
        models.setdefault(part.model, []).append(manifest)
    for model, manifests in models.items():
        module = generate.model_module(manifests)
        (directory / f"_{model}.py").write_text(module, encoding="utf-8")
    (directory / "__init__.py").write_text(generate.package_module(models), encoding="utf-8")
    (directory / "__main__.py").write_text(generate.main_module(), encoding="utf-8")
    (directory / "__init__.pyi").write_text(generate.stub(models), encoding="utf-8")
    (directory / "py.typed").touch()
    _copy_runtime(directory / "_runtime", native / ENGINE)
    return [_write_manifest(directory, m) for manifests in models.values() for m in manifests]


def write_hooks(directory: Path, package: str) -> None:
    """Write what lets PyInstaller collect a package.

    Args:
        directory: The package's directory.
        package: Its import name.
    """
    hooks = directory / "_pyinstaller"
    hooks.mkdir()
    (hooks / "__init__.py").write_text(generate.hooks_module(), encoding="utf-8")
    (hooks / f"hook-{package}.py").write_text(generate.hook_module(package), encoding="utf-8")


def _write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    """Write ``model.json`` when all other files are there, whose digests it tells."""
    names = ["__init__.py", f"_{manifest.model}.py"]
    names += [f"_runtime/{path.name}" for path in sorted((directory / "_runtime").iterdir())]
    names += [library for library in manifest.op_libraries if is_library_file(library)]
    proxies = [Path(variant.library.file).with_suffix(".json") for variant in manifest.variants]
    names += [proxy.as_posix() for proxy in proxies if (directory / proxy).exists()]
    complete = dataclasses.replace(
        manifest, files=[identify(directory / name, name) for name in names]
    )
    (directory / manifest.directory / "model.json").write_text(complete.to_json(), encoding="utf-8")
    return complete


def _write_pool(
    file: Path,
    parts: Sequence[Part],
    records: Mapping[Path, BuildRecord],
    eager: Mapping[Path, Eager | None],
    stored: Mapping[Path, Stored],
) -> tuple[dict[tuple[Path, str], Constant], File]:
    """Write the weights of all variants into one file, each distinct tensor once.

    Returns:
        The constants by the directory of what uses them and their names there, and the file.
    """
    tensors: dict[str, torch.Tensor] = {}
    origins: list[tuple[Path, Constant, str]] = []

    def add(path: Path, constant: Constant, tensor: torch.Tensor, *names: str) -> None:
        """Add a tensor under the first of the names that no other one has."""
        name = next(n for n in names if n not in tensors or _same(tensors[n], tensor))
        tensors[name] = tensor
        origins.append((path, constant, name))

    opened = {path: own.open() for path, own in stored.items()}
    for part in parts:
        own, weights = stored[part.exported.parent], opened[part.exported.parent]
        for path, _ in part.variants:
            record = records[path]
            for name, key in record.shared.items():
                constant = dataclasses.replace(own.tensors[key], name=name)
                device = f"{part.model}.{record.target}.{key}"
                add(path, constant, weights[key], f"{part.model}.{key}", device)
            for constant, tensor in _own_tensors(path, record, weights):
                name = f"{record.target}.{constant.fqn}"
                names = (f"{part.model}.{name}", f"{part.model}.{part.method}.{name}")
                add(path, constant, tensor, *names)
        program = eager[part.exported]
        for key in [*(program.weights if program else ()), *_kept(part, records, own)]:
            add(part.exported, own.tensors[key], weights[key], f"{part.model}.{key}")
    written = write_weights(file, tensors)
    placed = {
        (path, constant.name): dataclasses.replace(
            constant,
            tensor=written.constants[key].tensor,
            offset=written.constants[key].offset,
        )
        for path, constant, key in origins
    }
    return placed, identify(file, file.name)


def _own_tensors(
    path: Path, record: BuildRecord, weights: Mapping[str, torch.Tensor]
) -> Iterator[tuple[Constant, torch.Tensor]]:
    """The constants of a variant that were computed, or are computed here."""
    yield from open_tensors(path / COMPUTED_WEIGHTS, record.written)
    for constant in record.constants:
        recipe = record.derived.get(constant.fqn)
        if recipe is not None:
            yield constant, compute(recipe, weights.__getitem__).contiguous()


def _manifest(
    directory: Path,
    part: Part,
    records: Mapping[Path, BuildRecord],
    constants: Mapping[tuple[Path, str], Constant],
    weights: File,
    project: Path,
    torch_policy: str,
) -> Manifest:
    call = CallSpec.read(part.exported)
    compiled = [records[path] for path, _ in part.variants]
    dims = dict(call.dims)
    for record in compiled:
        for name, dim in record.dims.items():  # what is promised holds for every variant
            dims[name] = dims[name].intersection(dim)
    return Manifest(
        model=part.model,
        method=part.method,
        source=part.source,
        torch=runtime_range(Version(compiled[0].compiled["torch"]), torch_policy),
        inputs=call.inputs,
        in_spec=call.in_spec,
        outputs=call.outputs,
        dims=dims,
        declared=call.dims,
        conditions=sorted({condition for record in compiled for condition in record.conditions}),
        variants=[
            _variant(directory, part, path, records[path], constants, verified or {})
            for path, verified in part.variants
        ],
        weights=weights,
        runners=part.runners,
        selftest=_selftest(directory, part),
        op_libraries=[_packaged(library, directory, project) for library in call.op_libraries],
        about=call.about,
        doc=call.doc,
    )


def _variant(
    directory: Path,
    part: Part,
    path: Path,
    record: BuildRecord,
    constants: Mapping[tuple[Path, str], Constant],
    verified: Mapping[str, Any],
) -> Variant:
    """Copy a library from ``path`` into the package, and describe it."""
    library = f"{part.directory}/{record.target}.so"
    shutil.copyfile(path / LIBRARY, directory / library)
    if record.proxy_nodes:  # the runner looks for it under the library's name
        shutil.copyfile(path / PROXY_NODES, (directory / library).with_suffix(".json"))
    target = TARGETS[record.target]
    return Variant(
        target=target.name,
        device=target.device,
        library=identify(directory / library, library),
        platform=this_platform(),
        requires=list(target.requires),
        symbols=record.symbols,
        onednn=record.onednn,
        constants=[
            constants[path, name]
            for name in (*record.shared, *(constant.name for constant in record.constants))
        ],
        folded=record.folded,
        derived=record.derived,
        compiled=record.compiled,
        verified={key: value for key, value in verified.items() if key != "selftest"},
    )


def _kept(part: Part, records: Mapping[Path, BuildRecord], stored: Stored) -> list[str]:
    """The keys of parameters that no library takes, but the package shall have."""
    own = [records[path] for path, _ in part.variants]
    taken = {key for record in own for key in record.shared.values()}
    derived = [each for record in own for each in record.derived.values()]
    sizes = {key: tensor.size for key, tensor in stored.tensors.items()}
    return kept_parameters(derived, taken, sizes, swappable=part.swappable)


def _fallback(
    directory: Path,
    part: Part,
    eager: Eager | None,
    constants: Mapping[tuple[Path, str], Constant],
) -> Fallback | None:
    """Copy the eager program."""
    if eager is None:
        return None
    name = f"{part.directory}/{EAGER}"
    shutil.copyfile(eager.source, directory / name)
    placed = [constants[part.exported, key] for key in eager.weights]
    return Fallback(identify(directory / name, name), placed)


def _selftest(directory: Path, part: Part) -> SelfTest | None:
    """Copy the recorded call of the first variant that was verified."""
    for path, verified in part.variants:
        recorded = read_selftest((verified or {}).get("selftest"))
        if recorded is not None:
            name = f"{part.directory}/{SELFTEST}"
            shutil.copyfile(path / SELFTEST, directory / name)
            return dataclasses.replace(recorded, file=identify(directory / name, name))
    return None


def _packaged(library: str, directory: Path, project: Path) -> str:
    """A library of operators as the runtime finds it: a module, or a file of the package."""
    if not is_library_file(library):
        return library
    name = f"_operators/{Path(library).name}"
    (directory / "_operators").mkdir(exist_ok=True)
    shutil.copyfile(project / library, directory / name)
    return name


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one name are one: methods of a model mostly share their constants."""
    return one is other or (
        not (one.is_mkldnn or other.is_mkldnn)
        and one.dtype == other.dtype
        and one.shape == other.shape
        and one.stride() == other.stride()
        and torch.equal(one.view(torch.uint8), other.view(torch.uint8))
    )


def _copy_runtime(directory: Path, engine: Path) -> None:
    runtime = source_directory("aotbuild.runtime")
    shutil.copytree(runtime, directory, ignore=shutil.ignore_patterns("__pycache__"))
    if engine.is_file():
        shutil.copyfile(engine, directory / engine.name)
