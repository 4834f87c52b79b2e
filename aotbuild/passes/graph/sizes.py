"""What passes ask about sizes, which may be dynamic, or follow from data.

A size that is compared by ``==`` may become a condition of the compiled code; one that follows from
data, as the length of ``x[mask]``, raises. Here the answer is no wherever it is not the same for
every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true


def holds(condition: Any) -> bool:
    """Whether a condition, as ``size > 1``, holds whatever the dynamic sizes are."""
    return bool(statically_known_true(condition))


def is_same(one: Any, other: Any) -> bool:
    """Whether two sizes are the same, whatever the dynamic ones are."""
    return holds(one == other)


def are_same(shape: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two shapes are the same, whatever the dynamic sizes are."""
    return len(shape) == len(other) and all(map(is_same, shape, other))


def is_static(tensor: torch.Tensor) -> bool:
    """Whether all sizes of a tensor are numbers."""
    return all(type(size) is int for size in tensor.shape)
