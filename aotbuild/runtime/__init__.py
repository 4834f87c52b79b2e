"""Runs the compiled models of this package: the standard library and torch, nothing else.

aotbuild copies this directory into each package of compiled models, as ``_runtime``.
"""

from .errors import ModelLoadError
from .model import CompiledMethods, CompiledModel

__all__ = ["CompiledMethods", "CompiledModel", "ModelLoadError"]
