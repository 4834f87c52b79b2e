"""The index of an export's weights: what is in the weights file, and under which names."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.runtime.manifest import Constant, Parameter
from aotbuild.steps.files import write_if_changed

INDEX = "weights.json"

WEIGHTS = "weights.safetensors"
"""The weights file beside the index. Variants and packages have files of this name, too."""


@dataclass(frozen=True)
class WeightsIndex:
    """What an export stored."""

    tensors: dict[str, Constant]
    """By a name of their own: that in the state dict, or ``<method>:<name>`` for others."""
    names: dict[str, dict[str, str]]
    """For each method the own name of what its program has under another name."""
    state: list[Parameter]
    """The state dict of the module."""
    digest: str
    """Of all values."""

    def write(self, directory: Path) -> None:
        """Write as JSON."""
        fields = dataclasses.asdict(self)
        table = {field.name: fields[field.name] for field in dataclasses.fields(WeightsIndex)}
        write_if_changed(directory / INDEX, json.dumps(table, indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> WeightsIndex:
        """Read what ``write`` wrote."""
        table = index_table(directory)
        return cls(
            {key: Constant(**entry) for key, entry in table["tensors"].items()},
            table["names"],
            [Parameter(**entry) for entry in table["state"]],
            table["digest"],
        )


def index_table(directory: Path) -> dict[str, Any]:
    """The index as the plain table that is written."""
    table: dict[str, Any] = json.loads((directory / INDEX).read_text(encoding="utf-8"))
    return table
