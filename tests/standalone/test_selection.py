"""Elements by conditions and by positions, against torch."""

from __future__ import annotations

import pytest
import torch
from comparison import DTYPES, FLOATS, INTEGERS, check, numbers
from library import Library


def inputs(dtype: torch.dtype) -> list[torch.Tensor]:
    """Tensors of several layouts."""
    return [
        numbers(dtype, 6, 7, 8),
        numbers(dtype, 6, 7, 8).permute(2, 0, 1),
        numbers(dtype, 12, 7, 16)[::2, :, ::2],
        numbers(dtype, 1, 7, 1).expand(6, 7, 8),
    ]


def edges(dtype: torch.dtype) -> list[torch.Tensor]:
    """Without dimensions, or without elements."""
    return [numbers(dtype, 1)[0], torch.zeros((), dtype=dtype), numbers(dtype, 0, 3)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_nonzero(library: Library, dtype: torch.dtype) -> None:
    for tensor in [*inputs(dtype), *edges(dtype)]:
        check(library.call("aoti_torch_cpu_nonzero", tensor), torch.nonzero(tensor))
        for size in (0, 3, 500):
            check(
                library.call("aoti_torch_cpu_nonzero_static", tensor, size, -5),
                torch.nonzero_static(tensor, size=size, fill_value=-5),
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks(library: Library, dtype: torch.dtype) -> None:
    source = numbers(dtype, 30, 30).t()
    for tensor in [*inputs(dtype), *edges(dtype)]:
        masks = [torch.rand(tensor.shape) > 0.5, torch.rand(()) > 0.5]
        if tensor.dim() == 3:
            masks.append(torch.rand(tensor.shape[1], 1) > 0.5)
            masks.append((torch.rand(tensor.shape[::-1]) > 0.5).permute(2, 1, 0))
        for mask in masks:
            check(
                library.call("aoti_torch_cpu_masked_select", tensor, mask),
                torch.masked_select(tensor, mask),
            )
            check(
                library.call("aoti_torch_cpu_masked_scatter", tensor, mask, source),
                torch.masked_scatter(tensor, mask, source),
            )
            if tensor.numel():
                check(
                    library.call("aoti_torch_cpu_masked_scatter_backward", tensor, mask, [40, 10]),
                    torch.ops.aten.masked_scatter_backward(tensor, mask, [40, 10]),
                )


def index_lists(sizes: torch.Size) -> list[list[torch.Tensor | None]]:
    """Indices for a tensor of three dimensions."""

    def positions(dim: int, *shape: int) -> torch.Tensor:
        return torch.randint(-sizes[dim], sizes[dim], shape)

    return [
        [positions(0, 5)],
        [positions(0)],
        [positions(0, 5).int()],
        [positions(0, 200)],
        [positions(0, 0)],
        [positions(0, 3, 4), None],
        [None, positions(1, 5)],
        [None, None, positions(2, 5)],
        [positions(0, 4), positions(1, 3, 1)],
        [positions(0, 4), None, positions(2, 4)],
        [None, positions(1, 4), positions(2, 4)],
        [positions(0, 4), positions(1, 4), positions(2, 4)],
        [torch.rand(sizes[0]) > 0.5],
        [torch.rand(sizes[0], sizes[1]) > 0.5],
        [None, torch.rand(sizes[1], sizes[2]) > 0.5],
        [torch.rand(sizes[0]).gt(0.5).to(torch.uint8)],
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:indexing with dtype torch.uint8")
def test_index(library: Library, dtype: torch.dtype) -> None:
    for tensor in inputs(dtype):
        for lists in index_lists(tensor.shape):
            check(
                library.call("aoti_torch_cpu_index_Tensor", tensor, lists),
                torch.ops.aten.index.Tensor(tensor, lists),
            )


def test_index_has_the_strides_that_generated_code_expects(library: Library) -> None:
    tensor, index = torch.randn(10, 6), torch.randint(0, 10, (3, 4)).t()
    result = library.call("aoti_torch_cpu_index_Tensor", tensor, [index])
    expected = torch.ops.aten.index.Tensor(tensor.to("meta"), [index.to("meta")])
    assert result.stride() == expected.stride()
    assert torch.equal(result, tensor[index])


def test_index_by_threads(library: Library) -> None:
    tensor, index = torch.randn(1000, 60), torch.randint(0, 1000, (2000,))
    check(library.call("aoti_torch_cpu_index_Tensor", tensor, [index]), tensor[index])
    flat = torch.randn(70000)
    index = torch.randint(0, 70000, (300, 300))
    check(library.call("aoti_torch_cpu_index_Tensor", flat, [index]), flat[index])


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_repeat_interleave(library: Library, dtype: torch.dtype) -> None:
    for repeats in (torch.tensor([2, 0, 3, 1]), torch.zeros(0), torch.arange(8)[::2]):
        given = repeats.to(dtype)
        expected = torch.repeat_interleave(given)
        name = "aoti_torch_cpu_repeat_interleave_Tensor"
        check(library.call(name, given, None), expected)
        check(library.call(name, given, expected.numel()), expected)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS])
@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("int32", [True, False])
@pytest.mark.filterwarnings("ignore:torch.searchsorted")
def test_sorted_lists(library: Library, dtype: torch.dtype, right: bool, int32: bool) -> None:
    bounds = numbers(dtype, 40).sort()[0]
    for values in (numbers(dtype, 5, 60), numbers(dtype, 30, 4).t(), *edges(dtype)):
        check(
            library.call("aoti_torch_cpu_bucketize_Tensor", values, bounds, int32, right),
            torch.bucketize(values, bounds, out_int32=int32, right=right),
        )
    lists = numbers(dtype, 3, 2, 20)
    ordered, sorter = lists.sort(-1)
    values = numbers(dtype, 3, 2, 9)
    expected = torch.searchsorted(ordered, values, out_int32=int32, right=right)
    name = "aoti_torch_cpu_searchsorted_Tensor"
    check(library.call(name, ordered, values, int32, right, None, None), expected)
    check(library.call(name, lists, values, int32, right, None, sorter), expected)
    side = "right" if right else "left"
    check(library.call(name, ordered, values, int32, right, side, None), expected)
    check(
        library.call("aoti_torch_cpu_searchsorted_Scalar", bounds, 1.5, int32, right, None, None),
        torch.searchsorted(bounds, 1.5, out_int32=int32, right=right),
    )


def test_sorted_lists_of_other_dtypes(library: Library) -> None:
    name = "aoti_torch_cpu_searchsorted_Tensor"
    types = [torch.uint8, torch.int8, torch.int32, torch.int64, torch.float16, torch.float64]
    for one in types:
        for other in types:
            bounds = torch.arange(0, 100, 3).to(one)
            for values in (torch.arange(90).to(other), torch.tensor(50.5).to(other)):
                check(
                    library.call(name, bounds, values, False, False, None, None),
                    torch.searchsorted(bounds, values),
                )
    large = torch.tensor([0, 2**24, 2**24 + 1, 2**24 + 2])
    check(
        library.call(
            "aoti_torch_cpu_searchsorted_Scalar", large, 2**24 + 1, False, True, None, None
        ),
        torch.searchsorted(large, float(2**24 + 1), right=True),
    )


HALVES = torch.ones(5, dtype=torch.bool)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("nonzero_static", (HALVES, -1, 0), "must be an non-negative integer"),
        ("masked_select", (torch.zeros(5), torch.zeros(5)), "expected BoolTensor for mask"),
        ("masked_select", (torch.zeros(4), HALVES), r"tensor a \(4\) must match .* tensor b \(5\)"),
        (
            "masked_scatter",
            (torch.zeros(5), HALVES, torch.zeros(4)),
            "Number of elements of source",
        ),
        ("masked_scatter", (torch.zeros(5), HALVES, HALVES), "same dtypes"),
        ("repeat_interleave_Tensor", (torch.tensor([-1]), None), "can not be negative"),
        ("repeat_interleave_Tensor", (torch.tensor([2]), 3), "does not match required size"),
        ("bucketize_Tensor", (torch.zeros(2), torch.zeros(2, 2), False, False), "1 dimension"),
        (
            "searchsorted_Tensor",
            (torch.zeros(2, 3), torch.zeros(3), False, False, None, None),
            r"got boundaries tensor \[2, 3\] and input value tensor \[3\]",
        ),
        (
            "searchsorted_Tensor",
            (torch.zeros(3), torch.zeros(3), False, False, None, torch.tensor([0, 1, 7])),
            "sorter index out of range",
        ),
        (
            "index_Tensor",
            (torch.zeros(5), [torch.tensor([7])]),
            "index 7 is out of bounds for dimension 0 with size 5",
        ),
        (
            "index_Tensor",
            (torch.zeros(5, 4), [None, torch.tensor([-5])]),
            "index -5 is out of bounds for dimension 1 with size 4",
        ),
        ("index_Tensor", (torch.zeros(0), [torch.tensor([0])]), "for dimension with size 0"),
        ("index_Tensor", (torch.zeros(5), [torch.zeros(1)]), "must be long, int, byte or bool"),
        (
            "index_Tensor",
            (torch.zeros(5, 5), [torch.tensor([1, 2, 3]), torch.tensor([1, 2])]),
            r"could not be broadcast together with shapes \[3\], \[2\]",
        ),
        (
            "index_Tensor",
            (torch.zeros(5, 4), [torch.ones(5, 5, dtype=torch.bool)]),
            r"mask \[5, 5\] at index 0 does not match .* \[5, 4\] at index 1",
        ),
        ("index_Tensor", (torch.zeros(()), [torch.tensor([0])]), "too many indices"),
    ],
)
def test_errors(library: Library, name: str, values: tuple[object, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        library.call(f"aoti_torch_cpu_{name}", *values)
