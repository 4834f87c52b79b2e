"""Sorting and selecting by order, against torch: also the order of equal values."""

from __future__ import annotations

import pytest
import torch
from comparison import FLOATS, INTEGERS, check
from library import Library

DTYPES = [*FLOATS, *INTEGERS]


def numbers(dtype: torch.dtype, *shape: int, ties: bool = True) -> torch.Tensor:
    """Random numbers; floats include NaN, infinities and both zeros."""
    torch.manual_seed(sum(shape))
    limit = 2 if dtype == torch.bool else 5 if ties else 100
    made = torch.randint(0, limit, shape)
    if dtype.is_signed:
        made -= limit // 2
    made = made.to(dtype)
    if dtype.is_floating_point:
        if not ties:
            made = torch.randn(shape).to(dtype)
        specials = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0]).to(dtype)
        where = torch.rand(shape) < 0.1
        made = torch.where(where, specials[torch.randint(0, 4, shape)], made)
    return made


def inputs(dtype: torch.dtype) -> list[tuple[torch.Tensor, int]]:
    """Tensors of several layouts, and a dimension of each."""
    return [
        (numbers(dtype, 1), 0),
        (numbers(dtype, 16), 0),
        (numbers(dtype, 17), -1),
        (numbers(dtype, 700), 0),
        (numbers(dtype, 700, ties=False), 0),
        (numbers(dtype, 3, 100), 1),
        (numbers(dtype, 100, 3), 0),
        (numbers(dtype, 20, 30, 5), 1),
        (numbers(dtype, 20, 30, 5).permute(2, 0, 1), -1),
        (numbers(dtype, 20, 60, 5)[:, ::2].transpose(0, 1), 0),
        (numbers(dtype, 40, 1).expand(40, 3), 0),
        (numbers(dtype, 40, 1).expand(40, 3), 1),
        (numbers(dtype, 1)[0], 0),
        (numbers(dtype, 2, 1, 3), 1),
        (numbers(dtype, 3, 0), 0),
    ]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool, torch.uint16, torch.uint32, torch.uint64])
@pytest.mark.parametrize("stable", [True, False, None])
@pytest.mark.parametrize("descending", [True, False])
def test_sort(library: Library, dtype: torch.dtype, stable: bool | None, descending: bool) -> None:
    for tensor, dim in inputs(
        torch.int16
        if dtype.itemsize > 1 and dtype in {torch.uint16, torch.uint32, torch.uint64}
        else dtype
    ):
        given = tensor.abs().to(dtype) if tensor.dtype != dtype else tensor
        expected = torch.ops.aten.sort.stable(given, stable=stable, dim=dim, descending=descending)
        result = library.call("aoti_torch_cpu_sort_stable", given, stable, dim, descending)
        check(result, expected)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int64, torch.float32, torch.bool])
@pytest.mark.parametrize("shape", [(32767,), (32768,), (1, 32768), (100000,)])
@pytest.mark.parametrize("descending", [True, False])
def test_sort_of_long_rows(
    library: Library, dtype: torch.dtype, shape: tuple[int, ...], descending: bool
) -> None:
    tensor = numbers(dtype, *shape)
    check(
        library.call("aoti_torch_cpu_sort", tensor, -1, descending),
        torch.sort(tensor, -1, descending),
    )


def test_sort_of_many_rows_by_threads(library: Library) -> None:
    tensor = numbers(torch.float32, 300, 400)
    for dim in (0, 1):
        check(library.call("aoti_torch_cpu_sort", tensor, dim, True), torch.sort(tensor, dim, True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("in_order", [True, False])
def test_topk(library: Library, dtype: torch.dtype, largest: bool, in_order: bool) -> None:
    for tensor, dim in inputs(dtype):
        length = tensor.shape[dim] if tensor.dim() else 1
        for k in {0, 1, 2, 5, length // 64, length // 64 + 1, length // 2, length - 1, length}:
            if k > length or (not tensor.dim() and not k) or k < 0:
                continue
            check(
                library.call("aoti_torch_cpu_topk", tensor, k, dim, largest, in_order),
                torch.topk(tensor, k, dim, largest, in_order),
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keep", [True, False])
def test_kthvalue(library: Library, dtype: torch.dtype, keep: bool) -> None:
    for tensor, dim in inputs(dtype):
        length = tensor.shape[dim] if tensor.dim() else 1
        for k in {1, min(2, length), (length + 1) // 2, length}:
            check(
                library.call("aoti_torch_cpu_kthvalue", tensor, k, dim, keep),
                torch.kthvalue(tensor, k, dim, keep),
            )


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool])
@pytest.mark.parametrize("keep", [True, False])
def test_mode(library: Library, dtype: torch.dtype, keep: bool) -> None:
    for tensor, dim in inputs(dtype):
        # With NaN in lines of more than 16 elements torch sorts by an order that is none.
        given = tensor.nan_to_num() if dtype.is_floating_point else tensor
        for one in [tensor, given] if dtype.is_floating_point else [given]:
            check(library.call("aoti_torch_cpu_mode", one, dim, keep), torch.mode(one, dim, keep))


@pytest.mark.parametrize("dtype", DTYPES)
def test_median(library: Library, dtype: torch.dtype) -> None:
    for tensor, _ in inputs(dtype):
        if not tensor.numel() and not dtype.is_floating_point:
            continue
        for one in [tensor, tensor.nan_to_num()] if dtype.is_floating_point else [tensor]:
            check(library.call("aoti_torch_cpu_median", one), torch.median(one))
            check(library.call("aoti_torch_cpu_nanmedian", one), torch.nanmedian(one))
    if dtype.is_floating_point:
        nans = torch.full((20,), float("nan"), dtype=dtype)
        assert library.call("aoti_torch_cpu_nanmedian", nans).isnan()


def test_empty_lines(library: Library) -> None:
    empty = torch.zeros(0, 3)
    check(library.call("aoti_torch_cpu_sort", empty, 0, False), torch.sort(empty, 0))
    check(library.call("aoti_torch_cpu_topk", empty, 0, 0, True, True), torch.topk(empty, 0, 0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("topk", torch.zeros(5), 6, 0, True, True), "selected index k out of range"),
        (("topk", torch.zeros(5), 1, 1, True, True), r"expected to be in range of \[-1, 0\]"),
        (("topk", torch.zeros(5, dtype=torch.bool), 1, 0, True, True), "topk .* 'Bool'"),
        (("kthvalue", torch.zeros(5), 6, 0, False), "k out of range for dimension 0"),
        (("kthvalue", torch.zeros(0), 1, 0, False), "dim 0 to have non-zero size"),
        (("mode", torch.zeros(2, 0), 1, False), "dim 1 to have non-zero size"),
        (("sort", torch.zeros(5, dtype=torch.complex64), 0, False), "sort .* 'ComplexFloat'"),
        (("median", torch.zeros(5, dtype=torch.bool)), "median .* 'Bool'"),
    ],
)
def test_errors(library: Library, call: tuple[object, ...], message: str) -> None:
    name, *values = call
    with pytest.raises(RuntimeError, match=message):
        library.call(f"aoti_torch_cpu_{name}", *values)
