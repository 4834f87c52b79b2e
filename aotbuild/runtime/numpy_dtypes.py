"""Dtypes of numpy by their names in torch, also those that numpy has by ml_dtypes."""

from __future__ import annotations

import importlib
from typing import Any

from .lazy import np


def dtype_named(name: str) -> Any:
    """A dtype by its name.

    Raises:
        ModuleNotFoundError: It is one of ml_dtypes, which is not installed.
    """
    if not name.startswith(("bfloat", "float8", "float4")):
        return np.dtype(name)
    try:
        more = importlib.import_module("ml_dtypes")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"numpy has {name} by ml_dtypes: pip install ml_dtypes") from None
    return np.dtype(getattr(more, name))
