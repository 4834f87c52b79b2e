"""Dtypes of torch by their names, which torch is not imported for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a dtype, without torch's."""
    return str(dtype).removeprefix("torch.")
