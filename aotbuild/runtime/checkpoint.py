"""Reading a state dict from a file, without running code from it."""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import StateDictError
from .lazy import torch

PADDING = "__pad__"
"""How the entries between the tensors of a weights file of aotbuild begin."""

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
"""Those of torch by their names in a safetensors file."""


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a safetensors file, or one that ``torch.save`` wrote, with ``weights_only=True``.

    Raises:
        StateDictError: It is missing, damaged, or holds no state dict.
    """
    file = Path(path)
    try:
        if file.suffix == ".safetensors":
            return _read_safetensors(file)
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_archive(file))
    except OSError as error:
        raise StateDictError(f"{file}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # torch.load raises nearly anything at a file that is not its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise StateDictError(f"{file}: cannot be read as a state dict ({reason})") from error
    if not isinstance(state, Mapping):
        raise StateDictError(f"{file}: holds a {type(state).__name__}, not a state dict")
    return dict(state)


def _is_archive(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(2) == b"PK"


def _read_safetensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, over its mapped bytes."""
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    start = 8 + int.from_bytes(mapped[:8], "little")
    if start > len(mapped):
        raise ValueError("it is truncated, or not a safetensors file")
    tensors = {}
    for name, entry in json.loads(mapped[8:start]).items():
        if name == "__metadata__" or name.startswith(PADDING):
            continue
        dtype = getattr(torch, DTYPES[entry["dtype"]])
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(mapped) - start:
            raise ValueError(f"it is truncated: {name} is not in it")
        tensor = torch.empty(0, dtype=dtype)
        if end > begin:
            count = (end - begin) // dtype.itemsize
            tensor = torch.frombuffer(mapped, dtype=dtype, count=count, offset=start + begin)
        tensors[name] = tensor.reshape(entry["shape"])
    return tensors
