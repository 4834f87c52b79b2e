"""Products of matrices of stand-alone libraries against eager torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from library import Library

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
COMPLEX = [torch.complex64, torch.complex128]
TOLERANCES = {
    torch.float32: 1e-5,
    torch.float64: 1e-13,
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
    torch.complex64: 1e-5,
    torch.complex128: 1e-13,
}


def _values(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point or dtype.is_complex:
        wide = torch.complex128 if dtype.is_complex else torch.float64
        return torch.randn(shape, dtype=wide).to(dtype)
    return torch.randint(0 if dtype == torch.uint8 else -100, 100, shape).to(dtype)


def _laid_out(values: torch.Tensor, form: str) -> torch.Tensor:
    """The same values by other strides, in the last two dimensions."""
    if form == "transposed":
        return values.mT.contiguous().mT
    if form == "gaps":
        holder = values.new_zeros((*values.shape[:-2], 2 * values.shape[-2], 3 * values.shape[-1]))
        view = holder[..., ::2, ::3]
        view.copy_(values)
        return view
    return values


def _exact(values: torch.Tensor) -> torch.Tensor:
    """In a type in which the expected result is exact enough."""
    if values.dtype.is_complex:
        return values.to(torch.complex128)
    return values.double() if values.is_floating_point() else values


def _check(got: torch.Tensor, exact: torch.Tensor) -> None:
    """Compare with a result in a wider type, by the size of the largest one."""
    assert got.shape == exact.shape
    if got.dtype in TOLERANCES:
        error = (got.to(exact.dtype) - exact).abs()
        assert not got.numel() or error.max() <= TOLERANCES[got.dtype] * (1 + exact.abs().max())
    else:
        assert torch.equal(got, exact)


FORMS = ["plain", "transposed", "gaps"]


@pytest.mark.parametrize(
    ("dtype", "forms"),
    [
        *((torch.float32, forms) for forms in itertools.product(FORMS, repeat=3)),
        *((dtype, (a, a, a)) for dtype in FLOATS[1:] + INTEGERS + COMPLEX for a in FORMS),
    ],
    ids=str,
)
def test_mm(library: Library, dtype: torch.dtype, forms: tuple[str, str, str]) -> None:
    for m, n, k in itertools.product([0, 1, 3, 33], [0, 1, 4, 17, 70], [0, 1, 37]):
        a = _laid_out(_values((m, k), dtype), forms[0])
        b = _laid_out(_values((k, n), dtype), forms[1])
        out = _laid_out(_values((m, n), dtype), forms[2])
        library.call("aoti_torch_cpu_mm_out", out, a, b)
        _check(out, _exact(a) @ _exact(b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
@pytest.mark.parametrize("form", ["plain", "transposed"])
@pytest.mark.parametrize("shape", [(1, 5000, 700), (40, 300, 1500), (4, 90, 3000), (300, 2, 600)])
def test_large(
    library: Library, dtype: torch.dtype, form: str, shape: tuple[int, int, int]
) -> None:
    """More terms and columns than stay in the caches; several threads."""
    m, n, k = shape
    a, b = _values((m, k), dtype), _laid_out(_values((k, n), dtype), form)
    out = a.new_empty(m, n)
    library.call("aoti_torch_cpu_mm_out", out, a, b)
    _check(out, _exact(a) @ _exact(b))


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS + COMPLEX, ids=str)
@pytest.mark.parametrize("factors", [(1.0, 1.0), (0.0, 1.0), (2.5, 1.5), (1.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("shape", [(7, 9), (9,), (7, 1), (1,), ()])
def test_addmm(
    library: Library,
    dtype: torch.dtype,
    factors: tuple[float, float],
    shape: tuple[int, ...],
) -> None:
    beta, alpha = factors
    bias, a, b = _values(shape, dtype), _values((7, 5), dtype), _values((5, 9), dtype)
    out = a.new_empty(7, 9)
    library.call("aoti_torch_cpu_addmm_out", out, bias, a, b, beta, alpha)
    if dtype not in TOLERANCES:
        beta, alpha = int(beta), int(alpha)
    _check(out, torch.addmm(_exact(bias), _exact(a), _exact(b), beta=beta, alpha=alpha))


@pytest.mark.parametrize("name", ["addmm", "baddbmm"])
def test_a_factor_of_zero_hides_nan(library: Library, name: str) -> None:
    a, b = torch.ones(1, 2, 3), torch.ones(1, 3, 4)
    if name == "addmm":
        a, b = a[0], b[0]
    out = a.new_empty(*a.shape[:-1], 4)
    library.call(f"aoti_torch_cpu_{name}_out", out, torch.tensor([math.nan]), a, b, 0.0, 2.0)
    assert torch.equal(out, torch.full_like(out, 6.0))
    library.call(
        f"aoti_torch_cpu_{name}_out",
        out,
        torch.tensor([math.nan]),
        a[..., :0],
        b[..., :0, :],
        0.0,
        1.0,
    )
    assert torch.equal(out, torch.zeros_like(out))


def test_values_that_are_not_finite(library: Library) -> None:
    a, b = torch.ones(20, 30), torch.ones(30, 40)
    a[3, 5], a[7, 2], b[4, 6] = math.inf, math.nan, -math.inf
    out = torch.empty(20, 40)
    library.call("aoti_torch_cpu_mm_out", out, a, b)
    assert torch.equal(out.isnan(), (a @ b).isnan())
    assert torch.equal(out.nan_to_num(), (a @ b).nan_to_num())


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS + COMPLEX, ids=str)
@pytest.mark.parametrize(
    "shape", [(5, 7, 9, 4), (3, 1, 6, 1), (0, 2, 2, 2), (1, 8, 0, 3), (40, 33, 20, 17)]
)
@pytest.mark.parametrize("form", ["plain", "transposed", "gaps"])
def test_bmm(
    library: Library, dtype: torch.dtype, shape: tuple[int, int, int, int], form: str
) -> None:
    batch, m, k, n = shape
    a, b = _values((batch, m, k), dtype), _laid_out(_values((batch, k, n), dtype), form)
    out = a.new_empty(batch, m, n)
    library.call("aoti_torch_cpu_bmm_out", out, a, b)
    _check(out, torch.bmm(_exact(a), _exact(b)))
    library.call("aoti_torch_cpu_bmm_out", out, a[:1].expand(batch, m, k) if batch else a, b)
    _check(out, torch.matmul(_exact(a[:1]), _exact(b)))


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS + COMPLEX, ids=str)
@pytest.mark.parametrize("shape", [(3, 4, 6), (1, 1, 6), (4, 1), (6,), ()])
def test_baddbmm(library: Library, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    summand, a, b = _values(shape, dtype), _values((3, 4, 5), dtype), _values((3, 5, 6), dtype)
    out = a.new_empty(3, 4, 6)
    library.call("aoti_torch_cpu_baddbmm_out", out, summand, a, b, 2.0, 3.0)
    _check(out, torch.baddbmm(_exact(summand), _exact(a), _exact(b), beta=2, alpha=3))


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS + COMPLEX, ids=str)
@pytest.mark.parametrize("shape", [(7,), (1,), ()])
@pytest.mark.parametrize("size", [0, 1, 50])
def test_addmv(library: Library, dtype: torch.dtype, shape: tuple[int, ...], size: int) -> None:
    summand, matrix = _values(shape, dtype), _values((7, size), dtype)
    vector = _values((size, 2), dtype)[:, 1]
    got = library.call("aoti_torch_cpu_addmv", summand, matrix, vector, 2.0, 3.0)
    # Expanded beforehand: eager torch gives results of another size where there are no columns.
    summand = _exact(summand).expand(7).clone()
    exact = torch.addmv(summand, _exact(matrix), _exact(vector), beta=2, alpha=3)
    assert got.dtype == dtype
    _check(got, exact)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
@pytest.mark.parametrize("gelu", [False, True])
def test_addmm_activation(library: Library, dtype: torch.dtype, *, gelu: bool) -> None:
    bias, a, b = _values((6,), dtype), _values((4, 5), dtype), _values((5, 6), dtype)
    if gelu and dtype in INTEGERS:
        with pytest.raises(RuntimeError, match="activation"):
            library.call("aoti_torch_cpu__addmm_activation", bias, a, b, 1.0, 1.0, True)
        return
    got = library.call("aoti_torch_cpu__addmm_activation", bias, a, b, 1.0, 1.0, gelu)
    exact = torch._addmm_activation(_exact(bias), _exact(a), _exact(b), use_gelu=gelu)
    _check(got, exact)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8], ids=str)
def test_int_mm(library: Library, dtype: torch.dtype) -> None:
    for m, k, n in [(17, 64, 32), (40, 300, 70), (1, 1, 1), (2, 0, 3)]:
        a, b = _values((m, k), dtype), _values((k, n), torch.int8)
        out = torch.empty(m, n, dtype=torch.int32)
        library.call("aoti_torch_cpu__int_mm_out", out, a, b)
        assert torch.equal(out, a.int() @ b.int())


def test_mm_plus_mm(library: Library) -> None:
    a, b, c, d = (torch.randn(*shape) for shape in [(9, 20), (20, 8), (9, 30), (30, 8)])
    out = torch.empty(9, 8)
    library.call("aoti_torch__mm_plus_mm_out", out, a, b, c, d)
    _check(out, a.double() @ b.double() + c.double() @ d.double())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (torch.ones(2, 5), torch.ones(2, 3), torch.ones(4, 5)), "cannot be multiplied"),
        (lambda: (torch.ones(2, 4), torch.ones(2, 3), torch.ones(3, 5)), "another shape"),
        (lambda: (torch.ones(2, 5), torch.ones(2, 3), torch.ones(3, 5).double()), "dtype"),
        (lambda: (torch.ones(2, 5), torch.ones(2, 3), torch.ones(3)), "2 dimensions"),
        (
            lambda: tuple(torch.ones(2, 2, dtype=torch.bool) for _ in range(3)),
            "cannot be multiplied",
        ),
    ],
)
def test_errors(
    library: Library, make: Callable[[], tuple[torch.Tensor, ...]], message: str
) -> None:
    with pytest.raises(RuntimeError, match=message):
        library.call("aoti_torch_cpu_mm_out", *make())


def test_a_summand_of_another_shape(library: Library) -> None:
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    with pytest.raises(RuntimeError, match="cannot be expanded"):
        library.call("aoti_torch_cpu_addmm_out", torch.empty(2, 5), torch.ones(3), a, b, 1.0, 1.0)
