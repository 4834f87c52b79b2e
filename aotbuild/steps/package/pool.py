"""The weights of a package: one file for all variants, with each distinct tensor once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from aotbuild.runtime import torch_arrays
from aotbuild.runtime.derived import compute
from aotbuild.runtime.integrity import identify
from aotbuild.runtime.manifest import Constant, File
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.library import COMPUTED_WEIGHTS
from aotbuild.steps.artifacts.weights_file import open_tensors, write_weights
from aotbuild.steps.package.parts import Contents


@dataclass(frozen=True)
class Pool:
    """A file of weights, and what is where in it."""

    file: File
    constants: Mapping[tuple[Path, str], Constant]
    """By the directory of what uses them, and their names there."""


def write_pool(file: Path, contents: Contents) -> Pool:
    """Write the weights of all variants into a file."""
    tensors: dict[str, torch.Tensor] = {}
    origins: list[tuple[Path, Constant, str]] = []

    def add(path: Path, constant: Constant, tensor: torch.Tensor, *names: str) -> None:
        """Add a tensor under the first of the names that no other one has."""
        name = next(n for n in names if n not in tensors or _same(tensors[n], tensor))
        tensors[name] = tensor
        origins.append((path, constant, name))

    opened = {path: stored.open() for path, stored in contents.stored.items()}
    for part in contents.parts:
        stored, weights = contents.stored_of(part), opened[part.exported.parent]
        for path, _ in part.variants:
            record = contents.records[path]
            for name, key in record.shared.items():
                constant = dataclasses.replace(stored.tensors[key], name=name)
                device = f"{part.model}.{record.target}.{key}"
                add(path, constant, weights[key], f"{part.model}.{key}", device)
            for constant, tensor in _own_tensors(path, record, weights):
                name = f"{record.target}.{constant.fqn}"
                names = (f"{part.model}.{name}", f"{part.model}.{part.method}.{name}")
                add(path, constant, tensor, *names)
        program = contents.eager[part.exported]
        own = [*contents.kept(part), *contents.initial(part).values()]
        for key in [*(program.weights if program else ()), *own]:
            add(part.exported, stored.tensors[key], weights[key], f"{part.model}.{key}")
    written = write_weights(file, tensors)
    placed = {
        (path, constant.name): dataclasses.replace(
            constant,
            tensor=written.constants[key].tensor,
            offset=written.constants[key].offset,
        )
        for path, constant, key in origins
    }
    return Pool(identify(file, file.name), placed)


def _own_tensors(
    path: Path, record: BuildRecord, weights: Mapping[str, torch.Tensor]
) -> Iterator[tuple[Constant, torch.Tensor]]:
    """The constants of a variant that were computed, or are computed here."""
    yield from open_tensors(path / COMPUTED_WEIGHTS, record.written)
    for constant in record.constants:
        recipe = record.derived.get(constant.fqn)
        if recipe is not None:
            yield constant, compute(recipe, weights.__getitem__, torch_arrays).contiguous()


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one name are one: methods of a model mostly share their constants."""
    return one is other or (
        not (one.is_mkldnn or other.is_mkldnn)
        and one.dtype == other.dtype
        and one.shape == other.shape
        and one.stride() == other.stride()
        and torch.equal(one.view(torch.uint8), other.view(torch.uint8))
    )
