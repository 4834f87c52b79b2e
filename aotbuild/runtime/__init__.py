"""Runs the compiled models of this package: the standard library and torch, nothing else.

aotbuild copies this directory into each package of compiled models, as ``_runtime``.
"""

from .arguments import dispatch_modes
from .errors import ModelLoadError, StateDictError
from .model import CompiledMethods, CompiledModel
from .signature import MISSING, Refused

__all__ = [
    "MISSING",
    "CompiledMethods",
    "CompiledModel",
    "ModelLoadError",
    "Refused",
    "StateDictError",
    "dispatch_modes",
]
