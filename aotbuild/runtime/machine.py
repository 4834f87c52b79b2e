"""What this machine and this torch are, as far as a compiled library depends on it."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import re
import sys
from collections.abc import Iterable
from typing import Any

import torch


def this_platform() -> str:
    """Operating system and architecture, such as ``linux-x86_64``."""
    machine = platform.machine().lower()
    return f"{sys.platform}-{ {'amd64': 'x86_64', 'arm64': 'aarch64'}.get(machine, machine) }"


def missing_symbols(symbols: Iterable[str]) -> list[str]:
    """Those of the symbols that the loaded torch does not have.

    A library that needs one of them would end the process where it is first used.
    """
    handle = _torch_library()
    return [] if handle is None else [name for name in symbols if not hasattr(handle, name)]


@functools.cache
def onednn_version() -> str:
    """The version of oneDNN in this torch; empty where it has none."""
    found = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return found[1] if found else ""


def packed_tensor(
    address: int, dtype: torch.dtype, shape: list[int], stride: list[int], packing: bytes
) -> torch.Tensor:
    """A tensor over memory that oneDNN has packed.

    Args:
        address: Where the memory is; it has to outlive the tensor.
        dtype: What the elements are.
        shape: Sizes, as if it were not packed.
        stride: What torch tells of such a tensor.
        packing: How it is packed, in oneDNN's own terms.

    Raises:
        RuntimeError: torch refuses it.
    """
    torch_library = _torch_library()
    if torch_library is None:
        raise RuntimeError("this torch does not make packed tensors")
    sizes, strides = ((ctypes.c_int64 * len(shape))(*numbers) for numbers in (shape, stride))
    handle = ctypes.c_void_p()
    number = getattr(torch_library, f"aoti_torch_dtype_{str(dtype).removeprefix('torch.')}")
    failed = torch_library.aoti_torch_create_tensor_from_blob_v2(
        ctypes.c_void_p(address),
        ctypes.c_int64(len(shape)),
        sizes,
        strides,
        ctypes.c_int64(0),
        number(),
        torch_library.aoti_torch_device_type_cpu(),
        0,
        ctypes.byref(handle),
        torch_library.aoti_torch_layout__mkldnn(),
        packing,
        ctypes.c_int64(len(packing)),
    )
    if failed:
        raise RuntimeError("this torch does not take weights that are packed so")
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p] * 3
    steal: Any = torch._C._aoti.alloc_tensor_by_stealing_from_void_ptr
    tensor: torch.Tensor = steal(capsule(handle, None, None))
    return tensor


@functools.cache
def _torch_library() -> ctypes.CDLL | None:
    """The loaded libraries of torch; a name is looked up in all that its extension module needs."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None  # Windows resolves every symbol when it opens a library
    try:
        return ctypes.CDLL(torch._C.__file__, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return None
