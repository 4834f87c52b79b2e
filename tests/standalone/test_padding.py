"""Tensors put together, and padded."""

from __future__ import annotations

import pytest
import torch
from library import Library


def _same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.stride() == expected.stride() or not found.numel()
    assert torch.equal(found, expected)


X = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
LAST = X.to(memory_format=torch.channels_last)
CATS: list[tuple[list[torch.Tensor], int]] = [
    ([X, X[:, :2], X], 1),
    ([X, X], -1),
    ([X, X.double(), X.int()], 0),
    ([X.byte(), X.char()], 0),
    ([X.half(), X.bfloat16()], 2),
    ([X, X + 1j], 2),
    ([LAST, LAST], 1),
    ([LAST.byte(), LAST.byte()], 1),
    ([LAST, X], 1),
    ([X.transpose(1, 3), X.transpose(1, 3)], 0),
    ([torch.zeros(0), X, X], 1),
    ([torch.zeros(0), torch.zeros(0)], 0),
    ([X[:, :0], X], 1),
    ([X[:0], X[:0]], 1),
    ([X[0, 0, 0], X[0, 1, 1]], 0),
    ([X[..., :1].expand(2, 3, 4, 9), X], 3),
    ([X], 2),
    ([X > 0, X < 0], 3),
]


@pytest.mark.parametrize("case", range(len(CATS)))
def test_cat(library: Library, case: int) -> None:
    tensors, dim = CATS[case]
    _same(library.call("aoti_torch_cpu_cat", tensors, dim), torch.cat(tensors, dim))


@pytest.mark.parametrize(
    ("tensors", "dim"),
    [
        ([], 0),
        ([X, X[:, :, :2]], 1),
        ([X, X[0]], 0),
        ([X, X], 4),
        ([X[0, 0, 0, 0], X[0, 0, 0, 0]], 0),
    ],
)
def test_cat_errors(library: Library, tensors: list[torch.Tensor], dim: int) -> None:
    with pytest.raises((RuntimeError, IndexError, ValueError)):
        torch.cat(tensors, dim)
    with pytest.raises(RuntimeError):
        library.call("aoti_torch_cpu_cat", tensors, dim)


@pytest.mark.parametrize("function", ["aoti_torch_cpu_pad", "aoti_torch_aten_pad"])
@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(
    "pad",
    [
        [1, 2],
        [0, 0],
        [2, 0, 1, 3],
        [-1, 2],
        [-1, -1, -2, 0],
        [1, 1, 0, 2, 1, 0],
        [4, 4],
        [0, -1, 2, 2],
    ],
    ids=str,
)
def test_pad(library: Library, function: str, mode: str, pad: list[int]) -> None:
    five = torch.randn(2, 3, 2, 4, 5)
    tensors = [
        X,
        LAST,
        X[0],
        X[0, 0],
        X.permute(0, 3, 1, 2),
        X[:, :, ::2, 1:],
        five,
        X[:0],
        X.double(),
    ]
    tensors += [five.to(memory_format=torch.channels_last_3d), X[:, :1].expand(2, 3, 4, 5)]
    for x in tensors:
        try:
            expected = torch.ops.aten.pad(x, pad, mode)
        except RuntimeError:
            # torch 2.14 and newer also refuse what leaves nothing.
            if x.numel() and not _is_emptied(x, pad):
                with pytest.raises(RuntimeError):
                    library.call(function, x, pad, mode, None)
            continue
        _same(library.call(function, x, pad, mode, None), expected)


def _is_emptied(x: torch.Tensor, pad: list[int]) -> bool:
    """Whether a padding leaves nothing of a dimension."""
    sides = zip(reversed(x.shape), pad[::2], pad[1::2], strict=False)
    return any(size + before + after <= 0 for size, before, after in sides)


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.bfloat16, torch.float64]
)
def test_pad_value(library: Library, dtype: torch.dtype) -> None:
    x = X.to(dtype)
    for pad in ([1, 2], [1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 3, -1]):
        found = library.call("aoti_torch_cpu_pad", x, pad, "constant", 1.0)
        _same(found, torch.nn.functional.pad(x, pad, value=1))


@pytest.mark.parametrize(
    "values", [([1], "constant"), ([1] * 10, "constant"), ([1, 1], "mirror"), ([-9, 0], "constant")]
)
def test_pad_errors(library: Library, values: tuple[list[int], str]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.ops.aten.pad(X, *values)
    with pytest.raises(RuntimeError):
        library.call("aoti_torch_cpu_pad", X, *values, None)
