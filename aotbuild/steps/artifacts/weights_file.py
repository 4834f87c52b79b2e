"""Writing a weights file: safetensors, with each tensor's bytes aligned for the CPU and the page.

A valid safetensors file, which other tools open. The format allows no holes, and its writer aligns
to 8 bytes only; so the bytes between two tensors are entries of their own, ``__pad__<n>``.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aotbuild.runtime.checkpoint import DTYPES, PADDING
from aotbuild.runtime.manifest import Constant
from aotbuild.runtime.weights import WeightsFile
from aotbuild.steps.dtypes import dtype_name
from aotbuild.steps.files import replacing

ALIGNMENT = 64
"""Bytes; the width of a cache line, and of the widest vector register."""

_NAMES = {getattr(torch, dtype): name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Written:
    """What was written."""

    constants: dict[str, Constant]
    """Each tensor by its name, which is also its ``fqn``."""
    digest: str
    """Of all values."""


@dataclass(frozen=True)
class _Entry:
    name: str
    offset: int
    """From the end of the header."""
    size: int


def write_weights(
    path: Path, tensors: Mapping[str, torch.Tensor], *, by_content: bool = True
) -> Written:
    """Write tensors.

    Args:
        path: The file.
        tensors: By name. Tensors that are not contiguous keep the order of their storage.
        by_content: Whether tensors of equal content share their bytes.
    """
    header: dict[str, dict[str, object]] = {}
    chunks: list[memoryview] = []
    known: dict[Any, _Entry] = {}
    entries: dict[str, _Entry] = {}
    whole = hashlib.sha256()
    end = 0
    for name, tensor in tensors.items():
        data = _bytes_of(tensor)
        content = hashlib.sha256(data).digest()
        whole.update(content)
        key = (tensor.dtype, content) if by_content else name
        if key not in known:
            padding = -end % ALIGNMENT
            if padding:
                header[f"{PADDING}{len(header)}"] = _header_entry("U8", [padding], end, padding)
                chunks.append(memoryview(bytes(padding)))
                end += padding
            header[name] = _header_entry(*_type_and_shape(tensor, len(data)), end, len(data))
            chunks.append(data)
            known[key] = _Entry(name, end, len(data))
            end += len(data)
        entries[name] = known[key]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    start = 8 + len(text)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for chunk in chunks:
            file.write(chunk)
    constants = {name: _constant(name, tensors[name], entries[name], start) for name in tensors}
    return Written(constants, whole.hexdigest())


def _constant(name: str, tensor: torch.Tensor, entry: _Entry, start: int) -> Constant:
    return Constant(
        name=name,
        fqn=name,
        tensor=entry.name,
        dtype=dtype_name(tensor.dtype),
        shape=list(tensor.shape),
        stride=list(tensor.stride()),
        offset=start + entry.offset,
        size=entry.size,
        packed=_packing(tensor),
    )


def unwritten(name: str, tensor: torch.Tensor) -> Constant:
    """A constant whose bytes are in no file yet."""
    return _constant(name, tensor, _Entry(name, 0, len(_bytes_of(tensor))), 0)


def _header_entry(dtype: str, shape: list[int], offset: int, size: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}


def _type_and_shape(tensor: torch.Tensor, size: int) -> tuple[str, list[int]]:
    """What the header says of a tensor: a flat shape where its elements are in another order."""
    if tensor.dtype not in _NAMES or tensor.is_mkldnn:
        return "U8", [size]
    shape = list(tensor.shape) if tensor.is_contiguous() else [size // tensor.dtype.itemsize]
    return _NAMES[tensor.dtype], shape


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    """The bytes that a tensor spans in its storage, in the order they lie there.

    The tensor's strides stay meaningful over them: its first element comes first.
    """
    if tensor.numel() == 0:
        return memoryview(b"")
    if tensor.is_mkldnn:
        size = torch.ops.mkldnn._nbytes(tensor)
        return _memory(torch.ops.mkldnn.data_ptr(tensor), size, tensor)
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    span = 1 + sum((n - 1) * s for n, s in zip(plain.shape, plain.stride(), strict=True))
    flat = plain.as_strided((span,), (1,), plain.storage_offset())
    size = span * tensor.dtype.itemsize
    return _memory(flat.data_ptr(), size, flat)


def _memory(address: int, size: int, owner: torch.Tensor) -> memoryview:
    # torch without numpy offers no buffer; the array keeps the tensor alive.
    array = (ctypes.c_ubyte * size).from_address(address)
    array._tensor = owner  # type: ignore[attr-defined]
    return memoryview(array)


def _packing(tensor: torch.Tensor) -> str:
    """How oneDNN has packed a tensor; empty where it is plain."""
    if not tensor.is_mkldnn:
        return ""
    description = torch.ops.mkldnn._get_mkldnn_serialized_md(tensor)
    return bytes(description.tolist()).hex()


def open_tensors(
    path: Path, constants: Iterable[Constant]
) -> Iterator[tuple[Constant, torch.Tensor]]:
    """The tensors of ``constants`` in a weights file, mapped as the runtime maps them."""
    mapped = WeightsFile(path)
    for constant in constants:
        yield constant, mapped.tensor(constant)
