"""Convolutions of stand-alone libraries against eager torch."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from library import Library

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
TOLERANCES = {
    torch.float32: 2e-6,
    torch.float64: 1e-14,
    torch.float16: 6e-4,
    torch.bfloat16: 4e-3,
}
CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def _eager(*arguments: Any) -> torch.Tensor:
    result: torch.Tensor = torch.ops.aten.convolution(*arguments)
    return result


def _values(shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point:
        return torch.randn(shape).to(dtype)
    return torch.randint(0 if dtype == torch.uint8 else -50, 50, shape).to(dtype)


def _laid_out(values: torch.Tensor, form: str) -> torch.Tensor:
    """The same values by other strides."""
    if form == "gaps":
        return torch.cat([values, values], -1)[..., : values.shape[-1]]
    if form == "channels last":
        if values.dim() == 3:
            return values.mT.contiguous().mT
        return values.contiguous(memory_format=CHANNELS_LAST[values.dim() - 2])
    return values


def _check(library: Library, *arguments: Any) -> torch.Tensor:
    """Call both, and compare values; sizes of one may have any stride."""
    got: torch.Tensor = library.call("aoti_torch_cpu_convolution", *arguments)
    dtype = arguments[0].dtype
    wide = torch.float64 if dtype.is_floating_point else dtype
    # oneDNN of torch 2.13 ends the process for some convolutions in float16 and float32.
    exact = _eager(*(a.to(wide) if isinstance(a, torch.Tensor) else a for a in arguments))
    assert got.dtype == dtype
    assert got.shape == exact.shape
    if not dtype.is_floating_point:
        assert torch.equal(got, exact)
    elif got.numel():
        error = (got.double() - exact).abs().max()
        assert error <= TOLERANCES[dtype] * (exact.abs().max() + 1e-3)
    return got


def _strides(tensor: torch.Tensor) -> list[int]:
    return [s for n, s in zip(tensor.shape, tensor.stride(), strict=True) if n > 1]


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("form", ["plain", "channels last", "gaps", "weight"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_forms(
    library: Library, dtype: torch.dtype, *, transposed: bool, form: str, dims: int
) -> None:
    """Many shapes, drawn by chance: sizes, strides, padding, dilation, groups, bias."""
    torch.manual_seed(0)
    draw = random.Random(f"{dtype} {transposed} {form} {dims}")  # noqa: S311
    done = 0
    while done < 8:
        groups = draw.choice([1, 1, 2, 3, 8])
        inputs, outputs = groups * draw.choice([1, 2, 3, 16]), groups * draw.choice([1, 2, 5, 17])
        sizes = [
            draw.choice([1, 3, 20, 70, 300] if dims == 1 else [1, 2, 5, 17]) for _ in range(dims)
        ]
        kernel = [draw.choice([1, 2, 3, 5]) for _ in range(dims)]
        stride = [draw.choice([1, 1, 2, 3]) for _ in range(dims)]
        padding = [draw.choice([0, 1, 2]) for _ in range(dims)]
        dilation = [draw.choice([1, 1, 2]) for _ in range(dims)]
        added = [
            draw.randrange(max(s, d)) * transposed for s, d in zip(stride, dilation, strict=True)
        ]
        x = _values([draw.choice([1, 2, 3]), inputs, *sizes], dtype)
        w = _values(
            [inputs, outputs // groups] if transposed else [outputs, inputs // groups], dtype
        )
        w = _values([*w.shape, *kernel], dtype)
        if form == "weight":
            w = _laid_out(w, "channels last")
        else:
            x = _laid_out(x, form)
        bias = _values([outputs], dtype) if draw.random() < 0.5 else None
        arguments = (x, w, bias, stride, padding, dilation, transposed, added, groups)
        try:  # in a dtype for which torch does not take oneDNN
            expected = _eager(
                *(a.double() if isinstance(a, torch.Tensor) else a for a in arguments)
            )
        except RuntimeError:
            continue  # a result of no size, mostly
        if not expected.numel():
            continue
        got = _check(library, *arguments)
        if dims < 3:
            assert _strides(got) == _strides(expected)
        done += 1


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_integers(library: Library, dtype: torch.dtype, dims: int) -> None:
    x, w = _values([2, 6, *[7] * dims], dtype), _values([4, 3, *[3] * dims], dtype)
    one = [1] * dims
    _check(library, x, w, _values([4], dtype), [2] * dims, one, one, False, [0] * dims, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("form", ["plain", "channels last"])
def test_strides_in_three_dimensions(
    library: Library, dtype: torch.dtype, *, transposed: bool, form: str
) -> None:
    """For inputs for which torch takes oneDNN: in bfloat16 that is so on some CPUs only."""
    x = _laid_out(torch.randn(2, 8, 5, 6, 7), form)
    w = _laid_out(torch.randn(8, 8, 4, 4, 4), form)
    moves = (None, [1] * 3, [1] * 3, [1] * 3, transposed, [0] * 3, 1)
    got = _check(library, x.to(dtype), w.to(dtype), *moves)
    assert got.stride() == _eager(x, w, *moves).stride()


@pytest.mark.parametrize(
    ("shape", "weight", "stride", "groups"),
    [
        ([2, 64, 900], [70, 64, 11], 1, 1),  # more terms than are added at once
        ([1, 48, 2000], [48, 1, 31], 1, 48),
        ([3, 4, 60, 60], [90, 4, 5, 5], 2, 1),
        ([1, 3, 9, 30, 31], [20, 3, 3, 3, 3], 1, 1),
        ([1, 2, 3, 3], [300, 2, 1, 1], 1, 1),
    ],
)
def test_large(
    library: Library, shape: list[int], weight: list[int], stride: int, groups: int
) -> None:
    dims = len(shape) - 2
    x, w, bias = torch.randn(shape), torch.randn(weight), torch.randn(weight[0])
    zero = [0] * dims
    _check(library, x, w, bias, [stride], [1], [1], False, [0], groups)
    transposed = torch.randn(shape[1], weight[0] // groups, *weight[2:])
    _check(library, x, transposed, bias, [stride] * dims, zero, [1] * dims, True, zero, groups)


@pytest.mark.parametrize("padding", [0, 3, 4, 7])
@pytest.mark.parametrize("kernel", [3, 8, 16])
def test_phases(library: Library, padding: int, kernel: int) -> None:
    """Strides wider than the kernel, and phases that do not start with the same tap."""
    x, w = torch.randn(1, 5, 40), torch.randn(5, 6, kernel)
    _check(library, x, w, torch.randn(6), [8], [padding], [1], True, [5], 1)


@pytest.mark.parametrize(
    "shape", [([0, 2, 5], [3, 2, 2]), ([2, 0, 5], [3, 0, 2]), ([2, 2, 5], [0, 2, 2])]
)
def test_empty(library: Library, shape: tuple[list[int], list[int]]) -> None:
    arguments = (torch.ones(shape[0]), torch.ones(shape[1]), None, [1], [0], [1], False, [0], 1)
    try:
        expected = _eager(*arguments)
    except RuntimeError:
        with pytest.raises(RuntimeError):
            library.call("aoti_torch_cpu_convolution", *arguments)
    else:
        assert library.call("aoti_torch_cpu_convolution", *arguments).shape == expected.shape


def test_values_that_are_not_finite(library: Library) -> None:
    """Zeros around an input do not meet infinities of the input."""
    x = torch.ones(1, 2, 30)
    x[0, 0, 0], x[0, 1, 17] = float("inf"), float("nan")
    w = torch.ones(3, 2, 5)
    got = library.call("aoti_torch_cpu_convolution", x, w, None, [1], [2], [1], False, [0], 1)
    expected = torch.nn.functional.conv1d(x, w, padding=2)
    assert torch.equal(got.nan_to_num(), expected.nan_to_num())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.ones(2, 9)}, "no convolution takes"),
        ({"x": torch.ones(1, 3, 9)}, "does not take an input"),
        ({"x": torch.ones(1, 2, 1)}, "larger than its padded input"),
        ({"x": torch.ones(1, 2, 9).double()}, "different dtypes"),
        ({"bias": torch.ones(3)}, "bias of shape"),
        ({"stride": [0]}, "positive"),
        ({"padding": [-1]}, "positive"),
        ({"dilation": [0]}, "positive"),
        ({"stride": [1, 1]}, "2 numbers"),
        ({"transposed": True, "added": [1]}, "output padding"),
        ({"groups": 0}, "groups"),
        ({"x": torch.ones(1, 2, 9).bool(), "w": torch.ones(2, 2, 3).bool()}, "dtype number 11"),
        (
            {"x": torch.ones(1, 2, 9).int(), "w": torch.ones(2, 2, 3).int(), "transposed": True},
            "dtype number 3",
        ),
    ],
)
def test_errors(library: Library, changes: dict[str, Any], message: str) -> None:
    arguments = {
        "x": torch.ones(1, 2, 9),
        "w": torch.ones(2, 2, 3),
        "bias": None,
        "stride": [1],
        "padding": [0],
        "dilation": [1],
        "transposed": False,
        "added": [0],
        "groups": 1,
    }
    arguments.update(changes)
    with pytest.raises(RuntimeError):
        _eager(*arguments.values())
    with pytest.raises(RuntimeError, match=message):
        library.call("aoti_torch_cpu_convolution", *arguments.values())
