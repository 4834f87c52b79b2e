"""Transforms of half a spectrum to real numbers, as in ``torch.istft`` and ``torch.fft.irfft``.

The other half of the spectrum is put beside the first one, whose mirror image it is, and the whole
is transformed by ``_fft_c2c``, for which generated code has a function. The result is the real
part, so what is imaginary where a number mirrors itself has no effect, as in torch.
"""

from __future__ import annotations

import math
from typing import Any

import torch

aten: Any = torch.ops.aten

_BY_ROOT, _BY_COUNT = 1, 2
"""How a result is scaled, in ATen's numbers."""


def to_real(half: torch.Tensor, dims: list[int], scaling: int, size: Any) -> torch.Tensor:
    """``_fft_c2r`` by a transform of the whole spectrum, with its parameters.

    Args:
        half: Complex; along the last of the dimensions, the first ``size // 2 + 1`` numbers.
        dims: The dimensions to transform.
        scaling: 0 for none; 1 divides by the root of the number of elements, 2 by that number.
        size: How many real numbers there are along the last of the dimensions.
    """
    last = dims[-1]
    if dims[:-1]:
        half = _back(half, dims[:-1])
    pairs = torch.view_as_real(half)
    mirrored = pairs.narrow(last, 1, (size - 1) // 2).flip(last)
    conjugate = torch.stack((mirrored.select(-1, 0), -mirrored.select(-1, 1)), -1)
    whole = torch.view_as_complex(torch.cat((pairs, conjugate), last).contiguous())
    result = torch.view_as_real(_back(whole, [last])).select(-1, 0)
    count: Any = math.prod(half.shape[dim] for dim in dims[:-1]) * size
    if scaling == _BY_ROOT:
        return result.div(torch.sym_sqrt(count))
    return result.div(count) if scaling == _BY_COUNT else result.clone()


def _back(spectrum: torch.Tensor, dims: list[int]) -> torch.Tensor:
    """The inverse transform, not scaled."""
    forward = False
    result: torch.Tensor = aten._fft_c2c(spectrum, dims, 0, forward)
    return result
