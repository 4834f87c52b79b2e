"""torch, imported when something of it is first used: a call with arrays needs nothing of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .errors import ModelLoadError

if TYPE_CHECKING:
    import torch as torch  # noqa: PLC0414  # offered under this name
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

    torch = _Torch()


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of torch, which is not imported to find out."""
    kind = getattr(sys.modules.get("torch"), "Tensor", None)
    return kind is not None and isinstance(value, kind)
