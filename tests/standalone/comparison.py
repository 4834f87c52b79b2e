"""What tests of several operators have in common: numbers to call them with, and the comparison."""

from __future__ import annotations

import torch

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
COMPLEX = [torch.complex64, torch.complex128]
DTYPES = [*FLOATS, *INTEGERS, *COMPLEX, torch.bool]


def numbers(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Random numbers; floats include NaN, an infinity and both zeros."""
    torch.manual_seed(sum(shape))
    if dtype.is_complex:
        return torch.randn(*shape, dtype=dtype)
    made = (torch.randn(*shape) * 3).to(dtype)
    if dtype.is_floating_point and made.numel() > 1:
        flat = made.view(-1)
        flat[5::13] = float("nan")
        flat[3::17] = -float("inf")
        flat[5::11] = -0.0
        flat[6::11] = 0.0
    return made


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """What a tensor holds: all NaNs are equal, and 0.0 is not -0.0."""
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.contiguous())
    if tensor.dtype.is_floating_point:
        tensor = torch.where(tensor.isnan(), float("nan"), tensor)
    return tensor.contiguous().view(kinds[tensor.element_size()])


def check(result: object, expected: object) -> None:
    """Compare tensors in values, sizes, strides and dtypes."""
    results = result if isinstance(result, tuple) else (result,)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    for one, other in zip(results, wanted, strict=True):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.stride() == other.stride()
        assert torch.equal(bits(one), bits(other))
