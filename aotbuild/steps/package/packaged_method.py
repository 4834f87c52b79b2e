"""A method in a package: its files are copied there, and its manifest tells of them."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.config.resolve import is_library_file
from aotbuild.runtime.integrity import identify
from aotbuild.runtime.manifest import Fallback, Manifest, SelfTest, Variant, read_selftest
from aotbuild.steps.artifacts.eager_program import EAGER
from aotbuild.steps.artifacts.library import LIBRARY, PROXY_NODES
from aotbuild.steps.artifacts.verification import SELFTEST
from aotbuild.steps.package.parts import Contents, Part
from aotbuild.steps.package.pool import Pool
from aotbuild.steps.package.torch_range import torch_range
from aotbuild.target import TARGETS


@dataclass(frozen=True)
class Package:
    """A package that is being written."""

    directory: Path
    project: Path
    """Directory of the project, which holds the libraries of operators."""
    contents: Contents
    pool: Pool
    torch_policy: str
    """Which versions of torch it runs with, as in the declaration."""
    apart: str
    """Where its weights will be, if not in it: a requirement, or an environment variable."""


def add_method(package: Package, part: Part) -> Manifest:
    """Copy the files of a method into a package, and describe it."""
    directory = package.directory / part.directory
    directory.mkdir(parents=True, exist_ok=True)
    call = package.contents.calls[part.exported]
    records = [package.contents.records[path] for path, _ in part.variants]
    dims = dict(call.dims)
    for record in records:
        for name, dim in record.dims.items():  # what is promised holds for every variant
            dims[name] = dims[name].intersection(dim)
    return Manifest(
        model=part.model,
        method=part.method,
        source=part.source,
        torch=torch_range(records, package.torch_policy),
        inputs=call.inputs,
        in_spec=call.in_spec,
        outputs=call.outputs,
        dims=dims,
        declared=call.dims,
        conditions=sorted({condition for record in records for condition in record.conditions}),
        variants=[
            _variant(package, part, path, verified or {}) for path, verified in part.variants
        ],
        weights=package.pool.file,
        runners=part.runners,
        selftest=_selftest(package, part),
        op_libraries=[_packaged(library, package) for library in call.op_libraries],
        about=call.about,
        doc=call.doc,
        state=package.contents.stored_of(part).state,
        fallback=_fallback(package, part),
        apart=package.apart,
        changed=call.changed,
        buffers=call.buffers,
        initial={
            name: package.pool.constants[part.exported, key]
            for name, key in package.contents.initial(part).items()
        },
        adds=call.adds,
        kept=[package.pool.constants[part.exported, key] for key in package.contents.kept(part)],
    )


def _variant(package: Package, part: Part, path: Path, verified: Mapping[str, Any]) -> Variant:
    """Copy a library from ``path`` into the package, and describe it."""
    record, directory = package.contents.records[path], package.directory
    library = f"{part.directory}/{record.target}.so"
    shutil.copyfile(path / LIBRARY, directory / library)
    if record.proxy_nodes:  # the runner looks for it under the library's name
        shutil.copyfile(path / PROXY_NODES, (directory / library).with_suffix(".json"))
    target = TARGETS[record.target]
    return Variant(
        target=target.name,
        device=target.device,
        library=identify(directory / library, library),
        platform=target.platform,
        requires=list(target.requires),
        symbols=record.symbols,
        onednn=record.onednn,
        constants=[
            package.pool.constants[path, name]
            for name in (*record.shared, *(constant.name for constant in record.constants))
        ],
        folded=record.folded,
        derived=record.derived,
        compiled=record.compiled,
        standalone=record.standalone,
        verified={key: value for key, value in verified.items() if key != "selftest"},
    )


def _fallback(package: Package, part: Part) -> Fallback | None:
    """Copy the eager program."""
    eager, directory = package.contents.eager[part.exported], package.directory
    if eager is None:
        return None
    name = f"{part.directory}/{EAGER}"
    shutil.copyfile(eager.source, directory / name)
    placed = [package.pool.constants[part.exported, key] for key in eager.weights]
    return Fallback(identify(directory / name, name), placed)


def _selftest(package: Package, part: Part) -> SelfTest | None:
    """Copy the recorded call of the first variant that was verified."""
    directory = package.directory
    for path, verified in part.variants:
        recorded = read_selftest((verified or {}).get("selftest"))
        if recorded is not None:
            name = f"{part.directory}/{SELFTEST}"
            shutil.copyfile(path / SELFTEST, directory / name)
            return dataclasses.replace(recorded, file=identify(directory / name, name))
    return None


def _packaged(library: str, package: Package) -> str:
    """A library of operators as the runtime finds it: a module, or a file of the package."""
    if not is_library_file(library):
        return library
    name = f"_operators/{Path(library).name}"
    (package.directory / "_operators").mkdir(exist_ok=True)
    shutil.copyfile(package.project / library, package.directory / name)
    return name
