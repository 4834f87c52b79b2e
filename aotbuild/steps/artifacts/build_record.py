"""The build record: what the steps behind the step compile need to know of a library."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.runtime.dims import Dim
from aotbuild.runtime.manifest import Constant
from aotbuild.steps.files import write_text
from aotbuild.torch_version import TorchNeed

RECORD = "compiled.json"
"""The file of the build record."""


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
    """State-dict keys that survive only in derived constants."""
    symbols: dict[str, str]
    """What the library needs of torch, with the header that declares it."""
    onednn: str
    """The version of oneDNN that packed weights are for; empty where there are none."""
    proxy_nodes: bool
    """Whether the runner needs ``library.json``."""
    derived: dict[str, Any]
    """How constants follow from the state dict, by their ``fqn``: see
    ``aotbuild.passes.graph.derived``. They are computed again where they are needed."""
    compiled: dict[str, Any]
    """How it was compiled, for the manifest."""
    standalone: bool = False
    """Whether the library has what it needs of torch in itself."""
    torch: TorchNeed | None = None
    """Which versions of torch run it; None where none does."""

    @property
    def written(self) -> list[Constant]:
        """The constants that are in the variant's own file: code depends on the weights' values."""
        return [constant for constant in self.constants if constant.fqn not in self.derived]

    def write(self, directory: Path) -> None:
        """Write as JSON."""
        write_text(directory / RECORD, json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> BuildRecord:
        """Read what ``write`` wrote."""
        table = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        table["dims"] = {name: Dim(**entry) for name, entry in table["dims"].items()}
        table["constants"] = [Constant(**entry) for entry in table["constants"]]
        table["torch"] = TorchNeed(**table["torch"]) if table["torch"] else None
        return cls(**table)
