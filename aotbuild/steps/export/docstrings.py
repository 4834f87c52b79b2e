"""What the author of a module wrote of it, for the users of the compiled model."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from aotbuild.config.schema import FORWARD

_LIBRARIES = ("torch", "builtins")
"""Whose own docstrings say nothing of a model."""


def module_doc(module: torch.nn.Module) -> str:
    """The docstring of a module's class, or of the function that a module was made of."""
    function = vars(module).get(FORWARD)
    return _doc(function) if inspect.isroutine(function) else _doc(type(module))


def method_doc(module: torch.nn.Module, method: str) -> str:
    """The docstring of a method of a module; that of a function is its ``module_doc``."""
    return "" if method in vars(module) else _doc(getattr(type(module), method, None))


def _doc(value: Any) -> str:
    """The docstring of a class or function, in characters that source can have."""
    text = getattr(value, "__doc__", None)  # inspect.getdoc() would take that of a base class
    library = str(getattr(value, "__module__", "")).partition(".")[0] in _LIBRARIES
    if library or not isinstance(text, str):
        return ""
    lines = inspect.cleandoc(text).splitlines()
    kept = ("".join(c for c in line if c.isprintable()).rstrip() for line in lines)
    return "\n".join(kept).strip()
