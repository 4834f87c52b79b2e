"""Values placed at given positions, or combined with what is there, against torch."""

from __future__ import annotations

import pytest
import torch
from comparison import DTYPES, bits, check, numbers
from library import Library
from test_selection import index_lists, inputs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("accumulate", [True, False])
def test_index_put(library: Library, dtype: torch.dtype, accumulate: bool) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with more, torch's order is not fixed
    for tensor in inputs(dtype):
        # Torch itself fills by masks of bool only, the last list is not one.
        for lists in index_lists(tensor.shape)[:-1]:
            shape = torch.ops.aten.index.Tensor(tensor, lists).shape
            values = numbers(dtype, *shape)
            turned = values.permute(*reversed(range(len(shape)))).contiguous()
            for given in (
                values,
                numbers(dtype, 1)[0],
                turned.permute(*reversed(range(len(shape)))),
            ):
                expected = torch.ops.aten.index_put(tensor, lists, given, accumulate)
                check(
                    library.call("aoti_torch_cpu_index_put", tensor, lists, given, accumulate),
                    expected,
                )
            out = tensor.clone()
            library.call("aoti_torch_index_put_out", out, out, lists, values, accumulate)
            check(bits(out), bits(torch.ops.aten.index_put(tensor, lists, values, accumulate)))
    torch.set_num_threads(threads)


def cases(dtype: torch.dtype) -> list[tuple[torch.Tensor, int, torch.Tensor, torch.Tensor]]:
    """Tensors, dimensions, indices and values."""
    made = []
    for tensor, dim, length in [
        (numbers(dtype, 6, 7, 80), 0, 18),
        (numbers(dtype, 6, 7, 80), 1, 21),
        (numbers(dtype, 6, 7, 80), -1, 100),
        (numbers(dtype, 6, 7, 8).permute(2, 0, 1), 0, 20),
        (numbers(dtype, 12, 6)[::2, ::2], 1, 5),
        (numbers(dtype, 50), 0, 90),
        (numbers(dtype, 600, 3), 0, 400),
    ]:
        sizes = list(tensor.shape)
        sizes[dim] = length
        index, source = torch.randint(0, tensor.shape[dim], sizes), numbers(dtype, *sizes)
        made.append((tensor, dim, index, source))
        made.append((tensor, dim, index.int(), source))
        if tensor.dim() > 1:
            turned = source.transpose(0, -1).contiguous().transpose(0, -1)
            made.append((tensor, dim, index[:, :2], turned))
            made.append((tensor, dim, index[:, :1].expand(sizes), source))
        made.append((tensor, dim, index[:0], source))
    single = numbers(dtype, 1)[0]
    made.append((single, 0, torch.tensor(0), numbers(dtype, 1)[0]))
    made.append((single, 0, torch.tensor([0]), numbers(dtype, 1)))
    return made


@pytest.mark.parametrize("dtype", DTYPES)
def test_scatter(library: Library, dtype: torch.dtype) -> None:
    for tensor, dim, index, source in cases(dtype):
        expected = tensor.scatter(dim, index, source)
        out = tensor.clone()
        library.call("aoti_torch_scatter_out", out, out, dim, index, source)
        check(bits(out), bits(expected))
        out = torch.empty_like(tensor)
        library.call("aoti_torch_cpu_scatter_src_out", out, tensor, dim, index, source)
        check(bits(out), bits(expected))
        out = torch.empty_like(tensor)
        library.call("aoti_torch_cpu_scatter_value_out", out, tensor, dim, index, 2.5)
        check(bits(out), bits(tensor.scatter(dim, index, 2.5)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce(
    library: Library, dtype: torch.dtype, reduce: str, include_self: bool
) -> None:
    for tensor, dim, index, source in cases(dtype):
        out = tensor.clone()
        try:
            expected = tensor.scatter_reduce(dim, index, source, reduce, include_self=include_self)
        except RuntimeError:
            with pytest.raises(RuntimeError, match="is not implemented for"):
                library.call(
                    "aoti_torch_scatter_reduce_out", out, out, dim, index, source, reduce, True
                )
            continue
        library.call(
            "aoti_torch_scatter_reduce_out", out, out, dim, index, source, reduce, include_self
        )
        if dtype.is_complex and reduce in {"prod", "mean"}:  # torch's compiler fuses operations
            torch.testing.assert_close(out, expected)
            continue
        check(bits(out), bits(expected))
        out = torch.empty_like(tensor)
        name = "aoti_torch_cpu_scatter_reduce_two_out"
        library.call(name, out, tensor, dim, index, source, reduce, include_self)
        check(bits(out), bits(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduce", ["prod", "mean", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.filterwarnings("ignore:index_reduce")
def test_index_reduce(
    library: Library, dtype: torch.dtype, reduce: str, include_self: bool
) -> None:
    for given, dim, index, values in cases(dtype):
        tensor, source = given, values
        if dtype.is_floating_point:
            # Which of 0.0 and -0.0 is the larger one depends on torch's vectors.
            tensor, source = given.where(given != 0, 1), values.where(values != 0, 1)
        number = source.shape[dim] if source.dim() else 1
        picked = torch.randint(0, tensor.shape[dim] if tensor.dim() else 1, (number,))
        if index.dtype == torch.int32:
            picked = picked.int()
        arguments = (tensor, dim, picked, source, reduce)
        if source.dim() != tensor.dim():
            continue
        try:
            expected = torch.index_reduce(*arguments, include_self=include_self)
        except RuntimeError:
            with pytest.raises(RuntimeError, match="is not implemented for"):
                library.call("aoti_torch_cpu_index_reduce", *arguments, include_self)
            continue
        result = library.call("aoti_torch_cpu_index_reduce", *arguments, include_self)
        if dtype.is_complex:
            torch.testing.assert_close(result, expected)
        else:
            check(result, expected)


def test_scatter_by_threads(library: Library) -> None:
    tensor, source = torch.randn(200, 300), torch.randn(200, 300)
    for dim in (0, 1):
        index = torch.randint(0, 200, (200, 300))
        out = tensor.clone()
        library.call("aoti_torch_scatter_reduce_out", out, out, dim, index, source, "sum", True)
        check(out, tensor.scatter_reduce(dim, index, source, "sum"))


ZEROS = torch.zeros(5)
WRONG = torch.tensor([7])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "scatter_out",
            (ZEROS, ZEROS, 0, WRONG, ZEROS),
            "index 7 is out of bounds for dimension 0",
        ),
        ("cpu_scatter_value_out", (ZEROS, ZEROS, 0, -WRONG, 1.0), "index -7 is out of bounds"),
        ("cpu_scatter_value_out", (ZEROS, ZEROS, 0, ZEROS, 1.0), "int32/int64 for index"),
        ("cpu_scatter_value_out", (ZEROS, ZEROS, 1, WRONG, 1.0), "Dimension out of range"),
        (
            "cpu_scatter_value_out",
            (ZEROS, ZEROS, 0, torch.tensor([[1]]), 1.0),
            "must have the same number of dimensions as self tensor",
        ),
        ("scatter_out", (ZEROS, ZEROS, 0, WRONG - 7, WRONG), "self.dtype to be equal to src.dtype"),
        (
            "scatter_out",
            (ZEROS, ZEROS, 0, torch.zeros(6, dtype=torch.int64), ZEROS),
            r"Expected index \[6\] to be no larger .* than src \[5\]",
        ),
        (
            "scatter_reduce_out",
            (ZEROS, ZEROS, 0, WRONG, ZEROS, "sum", True),
            "index 7 is out of bounds for dimension 0 with size 5",
        ),
        (
            "scatter_reduce_out",
            (ZEROS, ZEROS, 0, WRONG, ZEROS, "most", True),
            "must be either sum, prod, mean, amax or amin, got most",
        ),
        (
            "cpu_index_reduce",
            (ZEROS, 0, WRONG, ZEROS[:1], "prod", True),
            "index out of range in self",
        ),
        (
            "cpu_index_reduce",
            (ZEROS, 0, WRONG, ZEROS, "prod", True),
            r"Number of indices \(1\) should be equal to source.size\(dim\): \(5\)",
        ),
        (
            "cpu_index_reduce",
            (ZEROS, 0, WRONG, ZEROS, "sum", True),
            "mean, amax or amin but got sum",
        ),
        (
            "cpu_index_put",
            (ZEROS, [WRONG], ZEROS[0], False),
            "index 7 is out of bounds for dimension 0 with size 5",
        ),
        ("cpu_index_put", (ZEROS, [WRONG - 7], WRONG, False), "got Float .* and Long"),
        (
            "cpu_index_put",
            (ZEROS, [torch.tensor([1, 2])], torch.ones(3), False),
            r"value tensor of shape \[3\] cannot be broadcast to indexing result of shape \[2\]",
        ),
    ],
)
def test_errors(library: Library, name: str, values: tuple[object, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        library.call(f"aoti_torch_{name}", *values)
