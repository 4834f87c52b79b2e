"""Transforms of half a spectrum, which generated code cannot call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._inductor.decomposition import select_decomp_table

from aotbuild.passes.fourier.decomposition import transformed, whole_spectra

aten: Any = torch.ops.aten


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("scaling", [0, 1, 2])
@pytest.mark.parametrize("dims", [[2], [0], [0, 1], [2, 0], [0, 1, 2]])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_they_are_those_of_the_whole(
    size: int, scaling: int, dims: list[int], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    shape = [3, 4, 6]
    shape[dims[-1]] = size // 2 + 1
    half = torch.randn(shape, dtype=dtype)
    expected = aten._fft_c2r(half, dims, scaling, size)
    found = transformed(half, dims, scaling, size)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    torch.testing.assert_close(found, expected)


def test_inductor_uses_it_while_it_is_asked_to() -> None:
    operator = aten._fft_c2r.default
    with whole_spectra():
        assert select_decomp_table()[operator] is transformed
    assert operator not in select_decomp_table()
