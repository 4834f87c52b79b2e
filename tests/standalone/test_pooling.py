"""Pooling: values, indices, and strides."""

from __future__ import annotations

import pytest
import torch
from library import Library

aten = torch.ops.aten
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def _same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.stride() == expected.stride()
    torch.testing.assert_close(found, expected, equal_nan=True)


def _inputs(dims: int, dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(0)
    size = [9, 11] if dims == 2 else [5, 6, 7]
    last = torch.channels_last if dims == 2 else torch.channels_last_3d
    x = torch.randn(2, 3, *size).mul(3).round().to(dtype)  # with many ties
    wide = torch.randn(2, 70, *size).mul(3).to(dtype)
    cases = [x, x[0], x.to(memory_format=last), wide.to(memory_format=last), x.transpose(-1, -2)]
    cases += [x[:0], x[:, :1].expand_as(x), x[..., ::2], x[:, :1].to(memory_format=last)]
    if dtype.is_floating_point:
        y = x.clone()
        y.view(-1)[::13] = torch.nan
        y.view(-1)[::7] = -torch.inf
        y[0, 0] = -torch.inf
        cases += [y, y.to(memory_format=last)]
    return cases


WINDOWS: list[tuple[int | list[int], list[int], int | list[int], int]] = [
    (2, [], 0, 1),
    (3, [2], 1, 1),
    (3, [1], 1, 2),
    (5, [3], 2, 1),
    ([3, 2], [2, 1], [1, 0], 1),
    (1, [2], 0, 1),
]


def _lists(dims: int, values: int | list[int]) -> list[int]:
    if isinstance(values, int):
        return [values]
    return values if len(values) == 1 or dims == 2 else [*values, 2] if values[-1] else [*values, 1]


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_max_pool(
    library: Library, dims: int, window: tuple[int, list[int], int, int], *, ceil: bool
) -> None:
    kernel, stride, padding, dilation = window
    values = (
        _lists(dims, kernel),
        _lists(dims, stride) if stride else [],
        _lists(dims, padding),
        [dilation],
    )
    operator = aten.max_pool2d_with_indices if dims == 2 else aten.max_pool3d_with_indices
    for x in _inputs(dims, torch.float32):
        try:
            expected = operator(x, *values, ceil)
        except RuntimeError:
            with pytest.raises(RuntimeError):
                library.call(f"aoti_torch_cpu_max_pool{dims}d_with_indices", x, *values, ceil)
            continue
        found = library.call(f"aoti_torch_cpu_max_pool{dims}d_with_indices", x, *values, ceil)
        _same(found[0], expected[0])
        # Where nothing is larger than -inf, the index is any one of the window.
        known = expected[0] != -torch.inf
        _same(found[1] * known, expected[1] * known)


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("window", [w for w in WINDOWS if w[3] == 1], ids=str)
@pytest.mark.parametrize("dims", [2, 3])
def test_avg_pool(
    library: Library,
    dims: int,
    window: tuple[int, list[int], int, int],
    *,
    ceil: bool,
    include: bool,
) -> None:
    kernel, stride, padding, _ = window
    values = (_lists(dims, kernel), _lists(dims, stride) if stride else [], _lists(dims, padding))
    operator = aten.avg_pool2d if dims == 2 else aten.avg_pool3d
    for divisor in (None, 3):
        for x in _inputs(dims, torch.float32):
            try:
                expected = operator(x, *values, ceil, include, divisor)
            except RuntimeError:  # where the kernel fits into the padded tensor only
                continue
            found = library.call(
                f"aoti_torch_cpu_avg_pool{dims}d", x, *values, ceil, include, divisor
            )
            _same(found, expected)


@pytest.mark.parametrize("out", [1, 2, 5, 9, 13])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", ["max", "avg"])
def test_adaptive(library: Library, kind: str, dims: int, out: int) -> None:
    size = [out, *range(3, 2 + dims)]
    name = f"adaptive_max_pool{dims}d" if kind == "max" else f"_adaptive_avg_pool{dims}d"
    for x in _inputs(dims, torch.float32):
        expected = getattr(aten, name)(x, size)
        found = library.call(f"aoti_torch_cpu_{name}", x, size)
        for a, b in zip(*(r if kind == "max" else [r] for r in (found, expected)), strict=True):
            _same(a, b)


@pytest.mark.parametrize(
    "dtype", [*FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]
)
@pytest.mark.parametrize("dims", [2, 3])
def test_dtypes(library: Library, dims: int, dtype: torch.dtype) -> None:
    """What torch takes, and some integers more."""
    calls = {
        f"max_pool{dims}d_with_indices": ([3], [2], [1], [1], False),
        f"avg_pool{dims}d": ([3], [2], [1], False, True, None),
        f"adaptive_max_pool{dims}d": ([2] * dims,),
        f"_adaptive_avg_pool{dims}d": ([2] * dims,),
    }
    for name, values in calls.items():
        for x in _inputs(dims, dtype)[:3]:
            try:
                expected = getattr(aten, name)(x, *values)
            except RuntimeError:
                if name not in {"max_pool3d_with_indices", "avg_pool3d"} or dtype == torch.bool:
                    with pytest.raises(RuntimeError):
                        library.call(f"aoti_torch_cpu_{name}", x, *values)
                continue
            found = library.call(f"aoti_torch_cpu_{name}", x, *values)
            both = (r if isinstance(r, tuple) else (r,) for r in (found, expected))
            for a, b in zip(*both, strict=True):
                _same(a, b)


def test_errors(library: Library) -> None:
    x = torch.zeros(1, 2, 4, 4)
    wrong_values = [
        ([9], [1], [0], [1]),
        ([3], [1], [2], [1]),
        ([3], [0], [0], [1]),
        ([3], [1], [0], [0]),
        ([3, 3, 3], [1], [0], [1]),
    ]
    for values in wrong_values:
        with pytest.raises(RuntimeError):
            aten.max_pool2d_with_indices(x, *values)
        with pytest.raises(RuntimeError, match="max_pool2d"):
            library.call("aoti_torch_cpu_max_pool2d_with_indices", x, *values, False)
    for wrong in (torch.zeros(2, 3), torch.zeros(2, 0, 4, 4), torch.zeros(2, 3, 0, 4)):
        with pytest.raises(RuntimeError):
            library.call("aoti_torch_cpu_max_pool2d_with_indices", wrong, [2], [], [0], [1], False)
    with pytest.raises(RuntimeError):
        library.call("aoti_torch_cpu_avg_pool2d", x, [2], [], [0], False, True, 0)
