"""States in safetensors files, and whether what is read fits a state."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import DTYPES, read_header
from .errors import StateError

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_VERSION = "aotbuild_state"

Described = Mapping[str, "tuple[str, tuple[int, ...], memoryview]"]
"""Dtype, shape and bytes of each buffer."""


def write_state(path: Any, model: str, version: str, described: Described) -> None:
    """Write the buffers of a state.

    Args:
        path: Of the file, which is replaced if it is there.
        model: The name of the model.
        version: What tells its states from those of other versions.
        described: The buffers.

    Raises:
        OSError: It cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": {_VERSION: version, "model": model}}
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
    temporary = target.parent / f"{target.name}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for _, _, data in described.values():
                file.write(data)
        temporary.replace(target)
    except OSError as error:  # of a name that the caller did not give
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def read_state(path: Any, model: str, version: str, expected: Described) -> dict[str, bytes]:
    """The bytes of each buffer in a file that ``write_state`` wrote.

    Args:
        path: Of the file.
        model: The name of the model.
        version: What tells its states from those of other versions.
        expected: The buffers of the state that is read into.

    Raises:
        StateError: It cannot be read, or is of another model, version or size.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
        metadata, found = read_header(data)
    except OSError as error:
        raise StateError(f"{file}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise StateError(f"{file}: is damaged, or no safetensors file ({error})") from error
    check_described(model, str(file), expected, found)
    if metadata.get(_VERSION) != version:
        raise StateError(other_version(model, str(file)))
    read = {name: data[begin:end] for name, (*_, begin, end) in found.items()}
    for name, (_, _, memory) in expected.items():
        if len(read[name]) != len(memory):
            raise StateError(f"{file}: is damaged: {name!r} is not whole")
    return read


def other_version(model: str, what: str) -> str:
    """That a state was computed with other weights than a model has."""
    return (
        f"{what} holds a state of another version of {model}, which was computed with other "
        "weights: begin with a new state"
    )


def check_described(
    model: str,
    what: str,
    expected: Mapping[str, tuple[Any, ...]],
    found: Mapping[str, tuple[Any, ...]],
) -> None:
    """Make sure that buffers have the names, dtypes and shapes of those of a state.

    Args:
        model: The model of the state.
        what: What the buffers are from, for messages.
        expected: For each buffer of the state its dtype and its shape.
        found: The same of what is to be read.

    Raises:
        StateError: One has not.
    """
    if expected.keys() != found.keys():
        raise StateError(
            f"{what} holds no state of {model}: its buffers are {', '.join(found) or 'none'}, and "
            f"those of {model} {', '.join(expected)}"
        )
    for name, (dtype, shape, *_) in expected.items():
        other, sizes = found[name][:2]
        if other != dtype:
            raise StateError(f"{what}: {name!r} is {other}, and {dtype} in the state of {model}")
        if tuple(sizes) != shape:
            raise StateError(
                f"{what}: {name!r} has the shape {tuple(sizes)}, and {shape} in this state of "
                f"{model}"
            )
