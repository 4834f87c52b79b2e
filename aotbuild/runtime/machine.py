"""This machine and this torch: what a compiled library depends on.

Most of it is found out without importing torch.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from .lazy import torch

DLPACK_DTYPES = {
    **{f"int{bits}": (0, bits) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (1, bits) for bits in (8, 16, 32, 64)},
    **{f"float{bits}": (2, bits) for bits in (16, 32, 64)},
    "bfloat16": (4, 16),
    "complex64": (5, 64),
    "complex128": (5, 128),
    "bool": (6, 8),
}
"""DLPack's code and bits of each dtype that can be handed over."""


def this_platform() -> str:
    """Operating system and architecture, such as ``linux-x86_64``."""
    if hasattr(os, "uname"):
        machine = os.uname().machine.lower()
    else:
        import platform  # it takes longer than a small model

        machine = platform.machine().lower()
    return f"{sys.platform}-{ {'amd64': 'x86_64', 'arm64': 'aarch64'}.get(machine, machine) }"


def torch_version() -> str:
    """The version of torch, such as ``2.13.0+cpu``."""
    version = getattr(sys.modules.get("torch"), "__version__", None)
    return str(version or _installed_version() or torch.__version__)


@functools.cache
def _installed_version() -> str | None:
    """The version in the installed torch's ``version.py``; None where it is not found there."""
    directory = _torch_directory()
    try:
        text = (directory / "version.py").read_text("utf-8") if directory else ""
    except OSError:
        return None
    match = re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE)
    return match[1] if match else None


def minor(version: str) -> tuple[int, ...]:
    """The numbers of a minor version: ``(2, 13)`` of ``2.13.0+cpu``."""
    numbers = []
    for part in version.split("+", maxsplit=1)[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers[:2])


def cpu_name() -> str:
    """What Linux calls the kind of CPU; empty elsewhere."""
    try:
        with Path("/proc/cpuinfo").open("rb") as file:
            text = file.read(4096).decode(errors="replace")  # of the first CPU
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.startswith(("model name", "CPU part"))]
    return lines[0].partition(":")[2].strip() if lines else ""


def torch_library() -> str:
    """The path of torch's CPU library; if it is not in its usual place, that of ``torch._C``."""
    directory = _torch_directory()
    name = "libtorch_cpu.dylib" if sys.platform == "darwin" else "libtorch_cpu.so"
    path = directory / "lib" / name if directory else None
    return str(path if path and path.exists() else torch._C.__file__)


@functools.cache
def _torch_directory() -> Path | None:
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parent if spec and spec.origin else None


@functools.cache
def engine_module() -> Any:
    """The extension module that lies beside this file; None where there is none for this Python."""
    if _free_threaded() and _engine_file().endswith(_STABLE):
        return None  # which some of them would load, and crash
    try:
        return importlib.import_module(f"{__package__}._engine")
    except ImportError:
        return None


def engine_lacking() -> str:
    """Why there is no engine for this Python."""
    name = _engine_file()
    if not name:
        return "this Python has none"
    if _free_threaded() and name.endswith(_STABLE):
        return (
            f"its engine, {name}, is for Pythons with the GIL, and this one has none; install the "
            f"wheel for {_tag()}, or build it with this Python"
        )
    if not _is_for_this(name):
        return (
            f"its engine, {name}, is for another Python; install the wheel for {_tag()}, or build "
            "it with this Python"
        )
    return f"its engine, {name}, cannot be loaded"


_STABLE = ".abi3.so"
"""How a file ends that is for all Pythons with the GIL."""


def _free_threaded() -> bool:
    return "t" in getattr(sys, "abiflags", "")


def _engine_file() -> str:
    """The name of the engine beside this file, the one for this Python if there are several."""
    names = [path.name for path in Path(__file__).parent.glob("_engine.*.so")]
    own = [name for name in names if not (_free_threaded() and name.endswith(_STABLE))]
    fit = [name for name in own if _is_for_this(name)]
    return min(fit or own or names, default="")


def _is_for_this(name: str) -> bool:
    """Whether this Python would import a file as the engine."""
    return name.removeprefix("_engine") in EXTENSION_SUFFIXES


def _tag() -> str:
    """The ABI of this Python, as wheels are tagged with it."""
    return f"cp{sys.version_info[0]}{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def missing_symbols(symbols: Iterable[str]) -> list[str]:
    """Those of the symbols that the loaded torch does not have.

    A library that needs one of them would end the process where it is first used.
    """
    lookup = getattr(engine_module(), "missing", None)
    if lookup is not None:
        absent: list[str] = lookup(torch_library(), list(symbols))
        return absent
    handle = _torch_library()
    return [] if handle is None else [name for name in symbols if not hasattr(handle, name)]


INTERFACE_VERSION = "aoti_torch_abi_version"
"""The function that tells the version of torch's interface in C."""


def interface_version() -> tuple[int, int]:
    """The minor version of torch that the interface in C of the loaded one is of."""
    lookup = getattr(engine_module(), "interface_version", None)
    if lookup is not None:
        number = lookup(torch_library())
    else:
        handle = _torch_library()
        if handle is None:
            return sys.maxsize, 0
        import ctypes  # rarely needed

        function = getattr(handle, INTERFACE_VERSION)
        function.restype = ctypes.c_uint64
        number = function()
    return number >> 56, number >> 48 & 0xFF


@functools.cache
def onednn_version() -> str:
    """The version of oneDNN in this torch; empty where it has none."""
    match = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    return match[1] if match else ""


def packed_tensor(
    address: int, dtype: torch.dtype, shape: list[int], stride: list[int], packing: bytes
) -> torch.Tensor:
    """A tensor over memory that oneDNN has packed.

    Args:
        address: Where the memory is; it has to outlive the tensor.
        dtype: What the elements are.
        shape: Sizes, as if it were not packed.
        stride: The strides that torch reports for such a tensor.
        packing: How it is packed: oneDNN's serialised description.

    Raises:
        RuntimeError: torch refuses it.
    """
    import ctypes  # few models need it

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
def _torch_library() -> Any:
    """Torch's library by ctypes, or None; a name is looked up in all that it needs, too."""
    if os.name != "posix":
        return None  # Windows resolves every symbol when it opens a library
    import ctypes

    try:
        return ctypes.CDLL(torch_library(), mode=os.RTLD_LAZY)
    except OSError:
        return None
