"""What this machine and this torch are, as far as a compiled library depends on it."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from collections.abc import Iterable

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
def _torch_library() -> ctypes.CDLL | None:
    """The loaded libraries of torch; a name is looked up in all that its extension module needs."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return None  # Windows resolves every symbol when it opens a library
    try:
        return ctypes.CDLL(torch._C.__file__, mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:
        return None
