"""The parts of a package, each a method of a model, and what the steps before wrote of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.config.schema import FORWARD
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.eager_program import Eager
from aotbuild.steps.artifacts.export_weights import Stored, initial_key
from aotbuild.steps.package.folded import kept_parameters


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


@dataclass(frozen=True)
class Contents:
    """The parts of a package, with what was written of them."""

    parts: Sequence[Part]
    records: Mapping[Path, BuildRecord]
    """By the directories of the libraries."""
    eager: Mapping[Path, Eager | None]
    """By the directories of the exported methods."""
    stored: Mapping[Path, Stored]
    """The weights, by the directories of the exported models."""
    calls: Mapping[Path, CallSpec]
    """How the methods are called, by the directories of their exports."""

    @classmethod
    def read(cls, parts: Sequence[Part]) -> Contents:
        """Read what was written of these parts."""
        return cls(
            parts,
            {path: BuildRecord.read(path) for part in parts for path, _ in part.variants},
            {part.exported: Eager.read(part.exported) for part in parts},
            {path: Stored.read(path) for path in {part.exported.parent for part in parts}},
            {part.exported: CallSpec.read(part.exported) for part in parts},
        )

    def stored_of(self, part: Part) -> Stored:
        """The weights of the model that a part is of."""
        return self.stored[part.exported.parent]

    def initial(self, part: Part) -> dict[str, str]:
        """The keys of the first values of what a model keeps between calls, by the names."""
        buffers = self.calls[part.exported].buffers
        keys = {buffer.name: initial_key(buffer.name) for buffer in buffers}
        return {name: key for name, key in keys.items() if key in self.stored_of(part).tensors}

    def kept(self, part: Part) -> list[str]:
        """The keys of parameters that no library takes, but the package shall have."""
        records = [self.records[path] for path, _ in part.variants]
        used = {key for record in records for key in record.shared.values()}
        derived = [each for record in records for each in record.derived.values()]
        sizes = {key: tensor.size for key, tensor in self.stored_of(part).tensors.items()}
        return kept_parameters(derived, used, sizes, swappable=part.swappable)
