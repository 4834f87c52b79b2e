"""Embedding bags."""

from __future__ import annotations

import pytest
import torch
from library import Library

aten = torch.ops.aten
NAMES = ["_embedding_bag", "_embedding_bag_forward_only"]


def _check(library: Library, name: str, weight: torch.Tensor, *values: object) -> None:
    expected = getattr(aten, name)(weight, *values)
    found = library.call(f"aoti_torch_cpu_{name}", weight, *values)
    assert found[0].dtype == expected[0].dtype
    assert found[0].stride() == expected[0].stride()
    torch.testing.assert_close(found[0], expected[0], equal_nan=True)
    described = torch._meta_registrations
    meta = getattr(described, "meta" + name)(weight, *values)
    for a, b in zip(found[1:], meta[1:], strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    if values[3] == 2:
        assert torch.equal(found[3], expected[3])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("padding", [-1, 0, 3])
def test_modes(library: Library, name: str, mode: int, padding: int) -> None:
    torch.manual_seed(0)
    indices = torch.tensor([1, 0, 3, 3, 9, 0, 4, 3, 3])
    for width in (1, 7, 300):
        weight = torch.randn(10, width)
        for offsets in ([0, 3, 3, 5], [0], [0, 0, 9], [0, 2, 7]):
            for kind in (torch.int64, torch.int32):
                starts = torch.tensor(offsets, dtype=kind)
                same = indices.to(kind)
                _check(
                    library, name, weight, same, starts, False, mode, False, None, False, padding
                )
                ended = torch.tensor([*offsets, 9], dtype=kind)
                _check(library, name, weight, same, ended, False, mode, False, None, True, padding)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(library: Library, name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = torch.randn(50, 44).to(dtype)
    indices = torch.randint(0, 50, (40,))
    offsets = torch.tensor([0, 10, 10, 30])
    factors = torch.rand(40).to(dtype)
    for mode in (0, 1, 2):
        _check(library, name, weight, indices, offsets, False, mode, False, None, False, -1)
    _check(library, name, weight, indices, offsets, False, 0, False, factors, False, -1)
    _check(library, name, weight, indices, offsets, False, 0, False, factors, False, 7)
    wide = torch.randn(44, 50).to(dtype).T
    _check(library, name, wide, indices, offsets, False, 0, False, None, False, -1)


def test_many(library: Library) -> None:
    torch.manual_seed(0)
    weight, indices = torch.randn(1000, 64), torch.randint(0, 1000, (20000,))
    offsets = torch.arange(0, 20000, 20)
    _check(library, NAMES[0], weight, indices, offsets, False, 1, False, None, False, -1)
    _check(library, NAMES[0], weight, indices[:0], offsets[:1], False, 1, False, None, False, -1)


@pytest.mark.parametrize(
    ("indices", "offsets", "says"),
    [
        ([0, 10], [0], "index 10"),
        ([0, -1], [0], "index -1"),
        ([0, 1], [1], "first offset"),
        ([0, 1], [0, 3], "offsets"),
    ],
)
def test_errors(library: Library, indices: list[int], offsets: list[int], says: str) -> None:
    values = (torch.tensor(indices), torch.tensor(offsets), False, 0, False, None, False, -1)
    with pytest.raises(RuntimeError, match=says):
        library.call("aoti_torch_cpu__embedding_bag", torch.randn(10, 4), *values)
