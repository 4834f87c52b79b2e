"""Views, and tensors of one number."""

from __future__ import annotations

import pytest
import torch
from library import Library


def _same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.stride() == expected.stride()
    assert torch.equal(found, expected)


X = torch.arange(120.0).reshape(2, 3, 4, 5)
Z = torch.complex(X, -X)
TENSORS = {
    "contiguous": X,
    "permuted": X.permute(2, 0, 3, 1),
    "sliced": X[:, 1:, ::2, 1::3],
    "expanded": X[:, :1, :, :].expand(2, 6, 4, 5),
    "single": X[:1, :, :1],
    "empty": X[:, :0],
    "line": X[0, 0, 0],
    "number": torch.tensor(3.0),
}


@pytest.mark.parametrize("name", TENSORS)
def test_complex_parts(library: Library, name: str) -> None:
    z = torch.complex(TENSORS[name], TENSORS[name])
    _same(library.call("aoti_torch_cpu_view_as_real", z), torch.view_as_real(z))
    pairs = torch.view_as_real(z)
    _same(library.call("aoti_torch_cpu_view_as_complex", pairs), torch.view_as_complex(pairs))
    z = z.mT if z.dim() > 1 else z
    _same(
        library.call("aoti_torch_cpu_view_as_real", z.to(torch.complex128)),
        torch.view_as_real(z.to(torch.complex128)),
    )


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(3, 3), torch.zeros(2, 2).T, torch.zeros(2, 3)[:, :2], torch.zeros(2).int()],
)
def test_not_complex(library: Library, tensor: torch.Tensor) -> None:
    with pytest.raises(RuntimeError):
        torch.view_as_complex(tensor)
    with pytest.raises(RuntimeError, match="view_as_complex"):
        library.call("aoti_torch_cpu_view_as_complex", tensor)


def test_permute(library: Library) -> None:
    for name, x in TENSORS.items():
        order = list(range(x.dim()))[::-1]
        _same(library.call("aoti_torch_cpu_permute", x, order), x.permute(order))
        assert name
    _same(library.call("aoti_torch_cpu_permute", X, [-1, 0, -2, 1]), X.permute(-1, 0, -2, 1))
    for wrong in ([0, 1, 2], [0, 0, 1, 2], [0, 1, 2, 4]):
        with pytest.raises(RuntimeError):
            library.call("aoti_torch_cpu_permute", X, wrong)


@pytest.mark.parametrize("function", ["aoti_torch_cpu_narrow", "aoti_torch_aten_narrow"])
def test_narrow(library: Library, function: str) -> None:
    for values in ((1, 1, 2), (-1, 0, 5), (2, -3, 2), (3, 5, 0)):
        _same(library.call(function, X, *values), X.narrow(*values))
    for wrong in ((1, 2, 2), (4, 0, 1), (1, -4, 1), (1, 0, -1)):
        with pytest.raises(RuntimeError):
            library.call(function, X, *wrong)


def test_slice(library: Library) -> None:
    for dim in (1, -1):
        for start in (None, 0, 1, -2, 7, -9):
            for end in (None, 0, 2, -1, 9, -9, 2**63 - 1):
                for step in (1, 2, 7):
                    expected = torch.ops.aten.slice.Tensor(X, dim, start, end, step)
                    found = library.call("aoti_torch_cpu_slice_Tensor", X, dim, start, end, step)
                    _same(found, expected)
    with pytest.raises(RuntimeError):
        library.call("aoti_torch_cpu_slice_Tensor", X, 0, 0, 1, 0)


@pytest.mark.parametrize("name", TENSORS)
def test_squeeze(library: Library, name: str) -> None:
    x = TENSORS[name]
    for dim in range(-max(x.dim(), 1), max(x.dim(), 1)):
        _same(library.call("aoti_torch_cpu_squeeze_dim", x, dim), x.squeeze(dim))
    with pytest.raises(RuntimeError):
        library.call("aoti_torch_cpu_squeeze_dim", x, 5)


SHAPES: list[list[int]] = [[120], [-1], [6, 20], [2, 1, 3, 20], [4, 30], [5, 4, 3, 2], [2, 3, 4, 5]]
SHAPES += [
    [1, 120, 1],
    [40],
    [2, 4, 6, 5],
    [48, 5],
    [4, 1, 1, 5, 2, 3],
    [1],
    [],
    [5, 1],
    [0],
    [0, 7],
]
SHAPES += [[2, 12, -1], [2, 0, 9], [8], [2, 2, 2], [12, 1, 5, 1], [1, 3, 1, 5]]


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_reshape(library: Library, name: str, shape: list[int]) -> None:
    x = TENSORS[name]
    try:
        expected = x.reshape(shape)
    except RuntimeError:
        with pytest.raises(RuntimeError, match="reshape"):
            library.call("aoti_torch_cpu_reshape", x, shape)
        return
    _same(library.call("aoti_torch_cpu_reshape", x, shape), expected)


def test_other_dtype(library: Library) -> None:
    for x in (
        X,
        X.permute(1, 0, 2, 3),
        X[:, :, :, :4],
        X[1:, :, 1:3, 0:2],
        X[:0],
        X[:, :, 1:, 2:4],
    ):
        for dtype in (torch.int32, torch.int16, torch.uint8, torch.float64, torch.complex64):
            try:
                expected = x.view(dtype)
            except RuntimeError:
                with pytest.raises(RuntimeError):
                    library.call("aoti_torch_cpu_view_dtype", x, dtype)
                continue
            found = library.call("aoti_torch_cpu_view_dtype", x, dtype)
            assert (found.shape, found.stride()) == (expected.shape, expected.stride())
            assert found.dtype == dtype
            assert (
                found.contiguous().view(torch.uint8).equal(expected.contiguous().view(torch.uint8))
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_filled(library: Library, dtype: torch.dtype) -> None:
    for name in ("aoti_torch_cpu_fill__Scalar", "aoti_torch_aten_fill__Scalar"):
        x = torch.zeros(3, 4, 6).to(dtype)
        expected = x.clone()
        expected[:, 1:3, ::2] = 3
        library.call(name, x[:, 1:3, ::2], 3.0)
        assert torch.equal(x, expected)
    rest = (0, 0, 0, 0)
    _same(
        library.call("aoti_torch_aten_full", [2, 3], 7.0, dtype, *rest),
        torch.full((2, 3), 7).to(dtype),
    )
    _same(
        library.call("aoti_torch_aten_new_zeros", x, [2, 3], None, *rest),
        torch.zeros(2, 3, dtype=dtype),
    )
    made = library.call("aoti_torch_aten_new_empty", x, [2, 0, 3], torch.int16, *rest)
    assert (made.dtype, made.shape) == (torch.int16, (2, 0, 3))


def test_hann_window(library: Library) -> None:
    for length in (0, 1, 2, 400):
        for dtype in (torch.float32, torch.float64):
            found = library.call("aoti_torch_cpu_hann_window", length, dtype, 0, 0, 0, 0)
            exact = torch.hann_window(length, dtype=torch.float64)
            torch.testing.assert_close(found, exact.to(dtype), rtol=1e-7, atol=1e-15)


def test_amax(library: Library) -> None:
    for dtype in (torch.float32, torch.float16, torch.int64, torch.uint8, torch.bool):
        x = torch.randn(3, 4, 5).mul(9).to(dtype).transpose(0, 2)
        for dims in ([0], [-1], [0, 2], [], [2, 1, 0]):
            for keep in (False, True):
                _same(
                    library.call("aoti_torch_aten_amax", x, dims, keep), torch.amax(x, dims, keep)
                )
    x = torch.tensor([[1.0, torch.nan], [-torch.inf, 3]])
    found = library.call("aoti_torch_aten_amax", x, [1], False)
    torch.testing.assert_close(found, torch.amax(x, 1), equal_nan=True)
    with pytest.raises(RuntimeError):
        library.call("aoti_torch_aten_amax", torch.zeros(2, 0), [1], False)
