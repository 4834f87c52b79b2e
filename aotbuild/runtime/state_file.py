"""States in safetensors files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checkpoint import DTYPES
from .errors import StateError

if TYPE_CHECKING:
    from .model_state import Layout

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_VERSION = "aotbuild_state"

Described = Mapping[str, "tuple[str, tuple[int, ...], memoryview]"]
"""Dtype, shape and bytes of each buffer."""


def write_state(path: Any, layout: Layout, described: Described) -> None:
    """Write the buffers of a state.

    Args:
        path: Of the file, which is replaced if it is there.
        layout: What the states of the model have in common.
        described: The buffers.

    Raises:
        OSError: It cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": {_VERSION: layout.version, "model": layout.model}}
    end = 0
    for name, (dtype, shape, data) in described.items():
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(shape),
            "data_offsets": [end, end + len(data)],
        }
        end += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target = Path(path)
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, _, data in described.values():
                file.write(data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_state(path: Any, layout: Layout, expected: Described) -> dict[str, bytes]:
    """The bytes of each buffer in a file that ``write_state`` wrote.

    Args:
        path: Of the file.
        layout: What the states of the model have in common.
        expected: The buffers of the state that is read into.

    Raises:
        StateError: It cannot be read, or is of another model, version or size.
    """
    from .model_state import check_described, other_version

    file = Path(path)
    try:
        data = file.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        metadata = header.pop("__metadata__", {})
        found = {
            name: (DTYPES[entry["dtype"]], entry["shape"], *entry["data_offsets"])
            for name, entry in header.items()
        }
    except OSError as error:
        raise StateError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{file}: is damaged, or no safetensors file") from error
    check_described(layout.model, str(file), expected, found)
    if metadata.get(_VERSION) != layout.version:
        raise StateError(other_version(layout.model, str(file)))
    read = {name: data[start + begin : start + end] for name, (*_, begin, end) in found.items()}
    for name, (_, _, memory) in expected.items():
        if len(read[name]) != len(memory):
            raise StateError(f"{file}: is damaged: {name!r} is not whole")
    return read
