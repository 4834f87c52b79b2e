"""The call spec: how arguments become the flat inputs of a library, and its flat outputs a result.

Nesting is written as plain tables that JSON can hold and that are read without torch:

- ``{"type": "tensor", "index": 0}``: the input or output at that position
- ``{"type": "int", "index": 1}``: a number made of sizes, which comes back as a 0-dim tensor
- ``{"type": "constant", "value": ...}``: None, a bool, an int, a float or a string
- ``{"type": "list" | "tuple", "items": [...]}``
- ``{"type": "dict" | "OrderedDict", "keys": [...], "items": [...]}``
- ``{"type": "object", "class": "module:Name", "fields": [...], "items": [...]}``
- ``{"type": "namedtuple", "class": "module:Name", "fields": [...], "items": [...]}``
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aotbuild.runtime.dims import Dim, Size
from aotbuild.runtime.manifest import Input, StateBuffer, read_sizes
from aotbuild.steps.files import write_if_changed

CALL = "call.json"
DOCS = ("about", "doc")
"""The fields that change nothing in what is compiled."""


@dataclass(frozen=True)
class CallSpec:
    """What a model takes and returns."""

    inputs: list[Input]
    in_spec: dict[str, Any]
    outputs: dict[str, Any]
    dims: dict[str, Dim]
    """The declared ranges."""
    conditions: list[str]
    """What else the program needs of its sizes, as Python expressions over the dimensions."""
    example: dict[str, int]
    """The size of each dimension that the program was traced with."""
    op_libraries: list[str]
    """Libraries of operators that it calls: modules, or files of the project."""
    exceptions: list[dict[str, int]] = field(default_factory=list)
    """Sizes of the dimensions at which something that torch supposed of sizes does not hold. They
    are verified too, so that the compiler may suppose it."""
    changed: list[int] = field(default_factory=list)
    """The inputs that a call changes in place."""
    buffers: list[StateBuffer] = field(default_factory=list)
    """What the model keeps between calls."""
    adds: dict[str, Size] = field(default_factory=dict)
    """How many entries a call adds, by the names of the buffers that count them."""
    about: str = ""
    """The docstring of the module's class."""
    doc: str = ""
    """The docstring of the method."""

    def write(self, directory: Path) -> None:
        """Write as JSON."""
        text = json.dumps(dataclasses.asdict(self), indent=1) + "\n"
        write_if_changed(directory / CALL, text)

    @classmethod
    def read(cls, directory: Path) -> CallSpec:
        """Read what ``write`` wrote."""
        table = call_table(directory)
        return cls(
            inputs=[Input.from_table(entry) for entry in table["inputs"]],
            in_spec=table["in_spec"],
            outputs=table["outputs"],
            dims={name: Dim(**entry) for name, entry in table["dims"].items()},
            conditions=table["conditions"],
            example=table["example"],
            op_libraries=table["op_libraries"],
            exceptions=table["exceptions"],
            changed=table["changed"],
            buffers=[StateBuffer.from_table(entry) for entry in table["buffers"]],
            adds=read_sizes(table["adds"]),
            **{name: table[name] for name in DOCS},
        )


def call_table(directory: Path) -> dict[str, Any]:
    """A call spec as the plain table that is written."""
    table: dict[str, Any] = json.loads((directory / CALL).read_text(encoding="utf-8"))
    return table
