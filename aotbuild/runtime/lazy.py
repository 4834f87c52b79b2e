"""torch and numpy, imported when something of them is first used: few calls need either."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from .errors import ModelLoadError

__all__ = ["has_numpy", "has_torch", "is_numpy", "is_tensor", "np", "torch"]

if TYPE_CHECKING:
    import numpy as np
    import torch
else:

    class _Torch:
        def __getattr__(self, name: str) -> Any:
            try:
                import torch as module  # not before
            except ModuleNotFoundError as error:
                if error.name != "torch":
                    raise
                raise ModelLoadError(
                    "torch is not installed, which compiled models need: pip install torch, in the "
                    "version that this package requires"
                ) from None
            return getattr(module, name)

    class _Numpy:
        def __getattr__(self, name: str) -> Any:
            import numpy as np  # not before

            return getattr(np, name)

    torch, np = _Torch(), _Numpy()


def has_torch() -> bool:
    """Whether torch could be imported, which it is not to find out."""
    return _is_there("torch")


def has_numpy() -> bool:
    """Whether numpy could be imported, which it is not to find out."""
    return _is_there("numpy")


def _is_there(name: str) -> bool:
    return sys.modules.get(name) is not None or importlib.util.find_spec(name) is not None


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of torch, which is not imported to find out."""
    kind = getattr(sys.modules.get("torch"), "Tensor", None)
    return kind is not None and isinstance(value, kind)


def is_numpy(value: Any) -> bool:
    """Whether a value is an array or a number of numpy, which is not imported to find out."""
    module = sys.modules.get("numpy")
    known = (getattr(module, "ndarray", None), getattr(module, "generic", None))
    return any(kind is not None and isinstance(value, kind) for kind in known)
