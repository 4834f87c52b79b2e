"""Distances between rows."""

from __future__ import annotations

import pytest
import torch
from library import Library

aten = torch.ops.aten
POWERS = [0.0, 1.0, 2.0, 3.0, 0.5, torch.inf]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", POWERS)
def test_cdist(library: Library, power: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    pairs = [
        ((5, 7), (4, 7)),
        ((30, 9), (40, 9)),
        ((2, 1, 5, 7), (3, 4, 7)),
        ((0, 3), (4, 3)),
        ((4, 3), (0, 3)),
        ((4, 0), (3, 0)),
        ((0, 4, 3), (0, 2, 3)),
    ]
    for first, second in pairs:
        a, b = torch.randn(first, dtype=dtype).round(decimals=1), torch.randn(second, dtype=dtype)
        for x, y in ((a, b), (a.mT.contiguous().mT, b)):
            for mode in (None, 1, 2):
                found = library.call("aoti_torch_cpu__cdist_forward", x, y, power, mode)
                expected = aten._cdist_forward(x, y, power, mode)
                assert found.stride() == expected.stride()
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("power", POWERS)
def test_pdist(library: Library, power: float) -> None:
    torch.manual_seed(0)
    for shape in ((6, 5), (2, 5), (1, 5), (0, 5), (3, 0), (40, 300)):
        x = torch.randn(shape)
        found = library.call("aoti_torch_cpu__pdist_forward", x, power)
        torch.testing.assert_close(found, aten._pdist_forward(x, power), rtol=1e-5, atol=1e-5)


def test_not_finite(library: Library) -> None:
    x = torch.tensor([[1.0, torch.nan, 2], [torch.inf, 0, 1], [1, 2, 3]])
    for power in POWERS:
        found = library.call("aoti_torch_cpu__cdist_forward", x, x, power, 2)
        expected = aten._cdist_forward(x, x, power, 2)
        torch.testing.assert_close(found, expected, equal_nan=True)


def test_errors(library: Library) -> None:
    x = torch.zeros(3, 4)
    for a, b, power in ((x, x[:, :2], 2.0), (x, x[0], 2.0), (x, x, -1.0), (x.int(), x.int(), 2.0)):
        with pytest.raises(RuntimeError):
            aten._cdist_forward(a, b, power, None)
        with pytest.raises(RuntimeError, match="cdist"):
            library.call("aoti_torch_cpu__cdist_forward", a, b, power, None)
