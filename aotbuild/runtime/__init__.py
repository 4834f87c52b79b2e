"""Runs the compiled models of this package: the standard library and torch, nothing else.

It imports torch only where that is needed, which calls with arrays on the CPU are not.

aotbuild copies this directory into each package of compiled models, as ``_runtime``.
"""

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
