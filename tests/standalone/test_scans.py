"""Running sums, products, largest and smallest values, against torch."""

from __future__ import annotations

import pytest
import torch
from comparison import COMPLEX, DTYPES, FLOATS, INTEGERS, check, numbers
from library import Library


def inputs(dtype: torch.dtype) -> list[tuple[torch.Tensor, int]]:
    """Tensors of several layouts, and a dimension of each."""
    return [
        (numbers(dtype, 1000), 0),
        (numbers(dtype, 7, 300), -1),
        (numbers(dtype, 30, 7), 0),
        (numbers(dtype, 3, 5, 600), 1),
        (numbers(dtype, 3, 50, 60).permute(2, 0, 1), 2),
        (numbers(dtype, 20, 60)[::2, ::3], 1),
        (numbers(dtype, 1, 6).expand(4, 6), 0),
        (numbers(dtype, 200, 300), 0),
        (numbers(dtype, 200, 300), 1),
        (numbers(dtype, 1)[0], 0),
        (numbers(dtype, 0, 3), 0),
        (numbers(dtype, 3, 0), 0),
    ]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.uint16])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_sums_and_products(library: Library, name: str, dtype: torch.dtype) -> None:
    for tensor, dim in inputs(dtype):
        expected = getattr(torch, name)(tensor, dim)
        result = library.call(f"aoti_torch_cpu_{name}", tensor, dim, None)
        if name == "cumprod" and dtype == torch.complex128:
            # Torch's compiler fuses multiplications with additions.
            assert result.stride() == expected.stride()
            near = torch.isfinite(expected) & torch.isfinite(result)
            torch.testing.assert_close(result[near], expected[near])
        else:
            check(result, expected)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, *COMPLEX])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_dtype_of_the_result(library: Library, name: str, dtype: torch.dtype) -> None:
    tensor = torch.randint(-3, 4, (20, 30), dtype=torch.int8)
    check(
        library.call(f"aoti_torch_cpu_{name}", tensor, 1, dtype),
        getattr(torch, name)(tensor, 1, dtype=dtype),
    )


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, torch.bool])
@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_best_so_far(library: Library, name: str, dtype: torch.dtype) -> None:
    for tensor, dim in inputs(dtype):
        check(
            library.call(f"aoti_torch_cpu_{name}", tensor, dim), getattr(torch, name)(tensor, dim)
        )


@pytest.mark.parametrize("dtype", FLOATS)
def test_logcumsumexp(library: Library, dtype: torch.dtype) -> None:
    for tensor, dim in inputs(dtype):
        for one in (tensor, tensor.nan_to_num()):
            check(
                library.call("aoti_torch_cpu_logcumsumexp", one, dim), torch.logcumsumexp(one, dim)
            )
    infinite = torch.tensor([-float("inf"), -float("inf"), 1, float("inf"), float("inf")])
    check(
        library.call("aoti_torch_cpu_logcumsumexp", infinite.to(dtype), 0),
        torch.logcumsumexp(infinite.to(dtype), 0),
    )


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("cumsum", (torch.zeros(3), 1, None), r"expected to be in range of \[-1, 0\], but got 1"),
        ("cumsum", (torch.zeros(3), 0, 11), "cumsum .* 'Bool'"),
        ("cummax", (torch.zeros(3, dtype=torch.complex64), 0), "cummax .* 'ComplexFloat'"),
        ("cummin", (torch.zeros(3, dtype=torch.uint16), 0), "cummin .* 'UInt16'"),
        ("logcumsumexp", (torch.zeros(3, dtype=torch.int64), 0), "logcumsumexp .* 'Long'"),
    ],
)
def test_errors(library: Library, name: str, values: tuple[object, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        library.call(f"aoti_torch_cpu_{name}", *values)
