"""Runs the compiled models of this package: the standard library and torch, nothing else.

It imports torch only where that is needed, which calls with arrays on the CPU are not. What it
offers is imported when it is first used: ``aotbuild.runtime.dims`` is also imported where
milliseconds count, in the hooks of a build.

aotbuild copies this directory into each package of compiled models, as ``_runtime``.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arguments import dispatch_modes
    from .arrays import Array
    from .errors import ModelLoadError, QueueFullError, StateDictError
    from .model import CompiledMethods, CompiledModel
    from .signature import MISSING, Refused

__all__ = [
    "MISSING",
    "Array",
    "CompiledMethods",
    "CompiledModel",
    "ModelLoadError",
    "QueueFullError",
    "Refused",
    "StateDictError",
    "dispatch_modes",
]

_MODULES = {
    "arguments": ("dispatch_modes",),
    "arrays": ("Array",),
    "errors": ("ModelLoadError", "QueueFullError", "StateDictError"),
    "model": ("CompiledMethods", "CompiledModel"),
    "signature": ("MISSING", "Refused"),
}
"""Where each of these names is defined."""


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
