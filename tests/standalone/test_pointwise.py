"""Operators on each element, mainly of complex numbers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from library import Library
from torch._subclasses.fake_tensor import FakeTensorMode

# Of sums of float16 or bfloat16 and complex numbers, from torch 2.14 on.
pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support")

aten = torch.ops.aten
REALS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
COMPLEX = [torch.complex64, torch.complex128]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
ALL = [*REALS, *COMPLEX, *INTEGERS, torch.bool]


def _same(
    found: torch.Tensor,
    expected: torch.Tensor,
    *,
    exact: bool = False,
    strides: tuple[int, ...] | None = None,
) -> None:
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.stride() == (strides or expected.stride())
    if exact:
        assert torch.equal(found, expected)
    else:
        torch.testing.assert_close(found, expected, equal_nan=True)


def _described(operator: Callable[..., torch.Tensor], *values: object) -> tuple[int, ...]:
    """The strides that torch tells Inductor, where the operator's own results have others."""
    with FakeTensorMode() as mode:
        return operator(
            *(mode.from_tensor(v) if isinstance(v, torch.Tensor) else v for v in values)
        ).stride()


def _made(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    if dtype == torch.bool:
        return torch.rand(shape) < 0.5
    if dtype in INTEGERS:
        return torch.randint(0, 7, shape).to(dtype)
    return torch.randn(shape, dtype=dtype if dtype in COMPLEX else torch.float64).to(dtype)


def _layouts(make: Callable[..., torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of operands that lie in all kinds of ways."""
    x, y = make(2, 3, 4, 5), make(2, 3, 4, 5)
    last = x.to(memory_format=torch.channels_last)
    return [
        (x, y),
        (x.permute(3, 1, 0, 2), y.permute(3, 1, 0, 2)),
        (x.permute(3, 1, 0, 2), make(5, 3, 2, 4)),
        (make(5, 3, 2, 4), x.permute(3, 1, 0, 2)),
        (last, y),
        (last, make(3, 1, 1)),
        (make(4, 1), last),
        (x, make(5)),
        (make(2, 1, 4, 1), make(3, 1, 5)),
        (x[:, ::2, 1:, ::3], y[:, ::2, 1:, ::3]),
        (x[:, :1].expand(2, 3, 4, 5), y),
        (make(1, 4, 1), y),
        (x, make(1).reshape(())),
        (make(1).reshape(()), y),
        (make(1).reshape(()), make(1).reshape(())),
        (make(1, 1).T, make(1)),
        (x[:0], make(5)),
        (make(1, 6, 1, 4).permute(2, 1, 0, 3), make(1, 6, 1, 4)),
        (make(200, 250), make(250)),
    ]


PAIRS: dict[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "add": ("aoti_torch_cpu_add_Tensor", lambda a, b: aten.add.Tensor(a, b, alpha=2)),
    "subtract": (
        "aoti_torch_aten_subtract_Tensor",
        lambda a, b: aten.subtract.Tensor(a, b, alpha=2),
    ),
    "mul": ("aoti_torch_cpu_mul_Tensor", aten.mul.Tensor),
    "pow": ("aoti_torch_cpu_pow_Tensor_Tensor", aten.pow.Tensor_Tensor),
}


def _call_pair(library: Library, name: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    rest = [2.0] if name in {"add", "subtract"} else []
    found = library.call(PAIRS[name][0], a, b, *rest)
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64, torch.int64])
def test_layouts(library: Library, name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for a, b in _layouts(lambda *shape: _made(dtype, *shape)):
        _same(_call_pair(library, name, a, b), PAIRS[name][1](a, b))


@pytest.mark.parametrize("first", ALL)
@pytest.mark.parametrize("name", PAIRS)
def test_dtypes(library: Library, name: str, first: torch.dtype) -> None:
    """Each pair of dtypes, also of tensors without dimensions."""
    torch.manual_seed(0)
    for second in ALL:
        a, b = _made(first, 4), _made(second, 4)
        for x, y in ((a, b), (a[0], b), (a, b[0]), (a[0], b[0])):
            try:
                expected = PAIRS[name][1](x, y)
            except NotImplementedError:  # of a type that this torch promotes to
                continue
            except RuntimeError:
                with pytest.raises(RuntimeError):
                    _call_pair(library, name, x, y)
                continue
            if expected.dtype == torch.complex32:
                continue
            found = _call_pair(library, name, x, y)
            assert found.dtype == expected.dtype, (first, second, x.dim(), y.dim())
            _same(found, expected)


def test_shapes_that_do_not_broadcast(library: Library) -> None:
    with pytest.raises(RuntimeError, match="broadcast"):
        library.call("aoti_torch_cpu_mul_Tensor", torch.zeros(2, 3), torch.zeros(2))


@pytest.mark.parametrize("dtype", ALL)
def test_numbers(library: Library, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = _made(dtype, 3, 4).T
    for number in (0.0, 2.0, -3.0, 0.3):
        python = number if number != int(number) else int(number)
        _same(library.call("aoti_torch_cpu_mul_Scalar", x, number), x * python)
        _same(library.call("aoti_torch_cpu_add_Scalar", x, number, 1.0), x + python)
        if dtype != torch.bool and not (dtype in INTEGERS and number != int(number)):
            _same(
                library.call("aoti_torch_cpu_add_Scalar", x, number, 2.0),
                torch.add(x, python, alpha=2),
            )
        if dtype == torch.uint8 and number < 0:
            continue
        if dtype != torch.bool:
            found = library.call("aoti_torch_cpu_pow_Scalar", number, x)
            strides = _described(aten.pow.Scalar, python, x)
            _same(found, torch.pow(python, x), strides=strides)
    if dtype != torch.bool:
        for power in (0.0, 1.0, 2.0, 3.0, 5.0, 0.5, -0.5, -1.0, -2.0, -3.0, 1.7, 40.0):
            python = power if power != int(power) else int(power)
            if dtype in INTEGERS and power < 0 and power == int(power):
                with pytest.raises(RuntimeError, match="negative"):
                    library.call("aoti_torch_cpu_pow_Tensor_Scalar", x, power)
                continue
            _same(library.call("aoti_torch_cpu_pow_Tensor_Scalar", x, power), torch.pow(x, python))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_powers(library: Library, dtype: torch.dtype) -> None:
    limits = torch.iinfo(dtype)
    x = torch.tensor([limits.min, limits.max, -1 if limits.min else 1, 0, 1, 3], dtype=dtype)
    for power in range(-3 if limits.min else 0, 9):
        y = torch.full_like(x, power)
        _same(library.call("aoti_torch_cpu_pow_Tensor_Tensor", x, y), torch.pow(x, y), exact=True)


EDGES = torch.tensor([0.0, -0.0, 1, -1, 3e38, -3e38, 1e-40, torch.inf, -torch.inf, torch.nan])


@pytest.mark.parametrize("dtype", [*REALS, *COMPLEX, *INTEGERS])
@pytest.mark.parametrize("name", ["abs", "angle"])
def test_one_operand(library: Library, name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = _made(dtype, 3, 4, 5)
    if dtype in COMPLEX:
        edges = torch.complex(*torch.meshgrid(EDGES, EDGES, indexing="ij")).to(dtype)
    elif dtype in REALS:
        edges = EDGES.to(dtype)
    else:
        edges = torch.tensor([torch.iinfo(dtype).min, torch.iinfo(dtype).max]).to(dtype)
    for each in (
        x,
        x.permute(2, 0, 1),
        x[:, ::2],
        x[0, 0, 0],
        x[:0],
        x[:, :1].expand(3, 4, 5),
        edges,
    ):
        expected = getattr(torch, name)(each)
        found = library.call(f"aoti_torch_cpu_{name}", each)
        if each is edges and dtype in COMPLEX and name == "abs":
            # torch's vectors overflow, and have NaN, where the value is known.
            known = torch.isfinite(expected)
            found, expected = found[known], expected[known]
            found, expected = found[found < 1e38], expected[found < 1e38]
        strides = _described(getattr(aten, name).default, each) if each is not edges else None
        _same(found, expected, strides=strides)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_polar(library: Library, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for a, b in _layouts(lambda *shape: _made(dtype, *shape)):
        _same(library.call("aoti_torch_cpu_polar", a, b), torch.polar(a, b))
    with pytest.raises(RuntimeError, match="polar"):
        library.call("aoti_torch_cpu_polar", torch.zeros(2), torch.zeros(2).double())


@pytest.mark.parametrize("dtype", INTEGERS)
def test_gcd(library: Library, dtype: torch.dtype) -> None:
    limits = torch.iinfo(dtype)
    x = torch.tensor([limits.min + 2, limits.max, 0, 1, 12, 54, 0, 90], dtype=dtype)
    y = torch.tensor([6, 14, 0, 0, 18, 24, 5, 27], dtype=dtype)
    for a, b in ((x, y), (y, x), (x[:, None], y), (x, y.long()), (x[4], y)):
        _same(library.call("aoti_torch_cpu_gcd", a, b), torch.gcd(a, b), exact=True)
    with pytest.raises(RuntimeError, match="gcd"):
        library.call("aoti_torch_cpu_gcd", x.float(), y.float())


def test_complex_infinities(library: Library) -> None:
    """Products of infinities are computed part by part, as torch does."""
    x = torch.complex(*torch.meshgrid(EDGES, EDGES, indexing="ij")).flatten()
    _same(library.call("aoti_torch_cpu_mul_Tensor", x, x.flip(0)), x * x.flip(0))
