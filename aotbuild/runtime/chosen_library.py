"""Which library of arrays the state dict of a model is of."""

from __future__ import annotations

import importlib.util
import sys

from .array_library import ArrayLibrary
from .errors import StateDictError


def array_library(model: str, *, standalone: bool) -> ArrayLibrary:
    """The library that the state dict of a model is of, now.

    Args:
        model: Its name, for messages.
        standalone: Whether it runs without torch. Then it is numpy, unless this process has
            imported torch, or has only torch.

    Raises:
        StateDictError: There is neither.
    """
    if standalone and sys.modules.get("torch") is None:
        if importlib.util.find_spec("numpy"):
            from . import numpy_arrays

            return numpy_arrays
        if not importlib.util.find_spec("torch"):
            raise StateDictError(
                f"{model}: its state dict is one of numpy's arrays, and numpy is not installed: "
                "pip install numpy"
            )
    from . import torch_arrays

    return torch_arrays
