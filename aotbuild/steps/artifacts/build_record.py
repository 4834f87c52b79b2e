"""The build record: what the step compile tells the steps behind it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.runtime.dims import Dim
from aotbuild.runtime.manifest import Constant
from aotbuild.steps.files import write_text

RECORD = "compiled.json"
"""The file of the build record."""

UNVERIFIED = "unverified"
"""In a report of the step verify, in place of all else: why the library could not be run."""


@dataclass(frozen=True)
class BuildRecord:
    """What the other steps need to know about a compiled library."""

    target: str
    dims: dict[str, Dim]
    """The ranges that the compiled code accepts."""
    conditions: list[str]
    example: dict[str, int]
    """The sizes that it was lowered for; the code accepts them."""
    shared: dict[str, str]
    """For the library's name of a constant that of the export's weights which it is."""
    constants: list[Constant]
    """What was computed from the weights."""
    folded: list[str]
    """What of the module's state dict is only in what was computed from it."""
    symbols: list[str]
    """What the library needs of torch."""
    onednn: str
    """The version of oneDNN that packed weights are for; empty where there are none."""
    proxy_nodes: bool
    """Whether the runner needs ``library.json``."""
    derived: dict[str, Any]
    """How constants follow from the state dict, by their ``fqn``: see
    ``aotbuild.passes.graph.derived``. They are computed again where they are needed."""
    compiled: dict[str, Any]
    """How it was compiled, for the manifest."""

    @property
    def written(self) -> list[Constant]:
        """The constants that are in the variant's own file: code depends on the weights' values."""
        return [constant for constant in self.constants if constant.fqn not in self.derived]

    def write(self, path: Path) -> None:
        """Write as JSON."""
        write_text(path, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> BuildRecord:
        """Read what ``write`` wrote."""
        table = json.loads(path.read_text(encoding="utf-8"))
        table["dims"] = {name: Dim(**entry) for name, entry in table["dims"].items()}
        table["constants"] = [Constant(**entry) for entry in table["constants"]]
        return cls(**table)
