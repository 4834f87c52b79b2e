"""Operators on complex tensors, in real parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from graphs import traced
from torch._inductor.decomposition import select_decomp_table

from aotbuild.passes.complex_numbers import arithmetic
from aotbuild.passes.complex_numbers.table import OPERATORS, in_real_parts
from aotbuild.passes.complex_numbers.transforms import to_real
from aotbuild.passes.pipeline import apply

aten: Any = torch.ops.aten
COMPLEX = [torch.complex64, torch.complex128]
PARTS = [0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 1e-20, -3e18, 40.0]
NUMBERS = [complex(real, imaginary) for real in PARTS for imaginary in PARTS]

Make = Callable[[torch.dtype], tuple[Any, ...]]


def numbers(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor(NUMBERS, dtype=dtype)


def usual(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(shape, dtype=dtype)


def pairs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    z = numbers(dtype)
    return z[:, None], z[None, :]


def one(dtype: torch.dtype) -> tuple[torch.Tensor]:
    return (numbers(dtype),)


def periodic(dtype: torch.dtype) -> tuple[torch.Tensor]:
    """Without angles of which a vectorised sine has other digits."""
    z = numbers(dtype)
    return (z[z.abs() < 50],)


CASES: dict[str, tuple[Any, Make]] = {
    "neg": (aten.neg.default, one),
    "conj": (aten._conj.default, one),
    "exp": (aten.exp.default, periodic),
    "log": (aten.log.default, one),
    "sqrt": (aten.sqrt.default, one),
    "sin": (aten.sin.default, periodic),
    "cos": (aten.cos.default, periodic),
    "div": (aten.div.Tensor, pairs),
    "div by real": (aten.div.Tensor, lambda dtype: (numbers(dtype), torch.tensor(-2.5))),
    "div of real": (aten.div.Tensor, lambda dtype: (torch.tensor(-2.5), numbers(dtype))),
    "div by number": (aten.div.Scalar, lambda dtype: (numbers(dtype), 3 - 2j)),
    "reciprocal": (aten.reciprocal.default, one),
    "sgn": (aten.sgn.default, one),
    "where": (aten.where.self, lambda d: (numbers(d).real > 0, numbers(d), numbers(d) * 2)),
    "where of real": (
        aten.where.self,
        lambda d: (numbers(d).real > 0, numbers(d), torch.tensor(2.0)),
    ),
    "sum": (aten.sum.default, lambda dtype: (usual(dtype, 4, 5),)),
    "sum of one": (aten.sum.dim_IntList, lambda dtype: (usual(dtype, 4, 5), [-1], True)),
    "mean": (aten.mean.default, lambda dtype: (usual(dtype, 4, 5),)),
    "mean of one": (aten.mean.dim, lambda dtype: (usual(dtype, 4, 5), [0])),
    "eq": (aten.eq.Tensor, pairs),
    "eq of number": (aten.eq.Scalar, lambda dtype: (numbers(dtype), 1.0)),
    "ne": (aten.ne.Tensor, pairs),
    "full": (aten.full.default, lambda _: ([2, 3], 1 - 2j)),
    "pad": (aten.constant_pad_nd.default, lambda dtype: (usual(dtype, 2, 3), [1, 2], 3.0)),
    "flip": (aten.flip.default, lambda dtype: (usual(dtype, 2, 3), [-1])),
    "mm": (aten.mm.default, lambda dtype: (usual(dtype, 4, 5), usual(dtype, 5, 3))),
    "bmm": (aten.bmm.default, lambda dtype: (usual(dtype, 2, 4, 5), usual(dtype, 2, 5, 3))),
    "unsqueeze": (aten.unsqueeze.default, lambda dtype: (usual(dtype, 4, 5), -1)),
    "unsqueeze first": (aten.unsqueeze.default, lambda dtype: (usual(dtype, 4, 5), 0)),
    "expand": (aten.expand.default, lambda dtype: (usual(dtype, 1, 5), [2, 4, -1])),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", COMPLEX)
def test_they_are_those_of_eager_torch(name: str, dtype: torch.dtype) -> None:
    operator, make = CASES[name]
    args = make(dtype)
    expected, found = operator(*args), OPERATORS[operator](*args)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    for part in (torch.real, torch.imag) if expected.is_complex() else (torch.abs,):
        if expected.is_complex() or expected.dtype is not torch.bool:
            torch.testing.assert_close(part(found), part(expected), equal_nan=True)
        else:
            assert torch.equal(found, expected)


def test_no_operator_is_without_a_test() -> None:
    tested = {operator for operator, _ in CASES.values()}
    same = {aten.conj_physical.default, aten.ne.Scalar, aten._fft_c2r.default}
    assert tested | same == set(OPERATORS)


def test_the_exponential_of_what_is_real_is_real() -> None:
    z = torch.tensor([complex(math.inf, 0), complex(100, 0), complex(-math.inf, 0)])
    assert torch.equal(arithmetic.exponential(z), z.exp())


def test_a_complex_tensor_of_two() -> None:
    real, imaginary = torch.rand(3, 1), torch.rand(4)
    made = arithmetic.of_parts(real, imaginary)
    assert torch.equal(made, torch.complex(real.expand(3, 4), imaginary.expand(3, 4)))


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("scaling", [0, 1, 2])
@pytest.mark.parametrize("dims", [[2], [0], [0, 1], [2, 0], [0, 1, 2]])
@pytest.mark.parametrize("dtype", COMPLEX)
def test_transforms_are_those_of_the_whole(
    size: int, scaling: int, dims: list[int], dtype: torch.dtype
) -> None:
    shape = [3, 4, 6]
    shape[dims[-1]] = size // 2 + 1
    half = usual(dtype, *shape)
    expected = aten._fft_c2r(half, dims, scaling, size)
    found = to_real(half, dims, scaling, size)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    torch.testing.assert_close(found, expected)


def test_inductor_uses_them_while_it_is_asked_to() -> None:
    before = dict(select_decomp_table())
    with in_real_parts():
        during = dict(select_decomp_table())
    assert dict(select_decomp_table()) == before
    assert {name for name in during if during[name] is not before.get(name)} == {
        *OPERATORS,
        aten.complex.default,
    }
    z = usual(torch.complex64, 3)
    assert torch.equal(during[aten.exp.default](z), arithmetic.exponential(z))
    assert during[aten.exp.default](z.real) is NotImplemented


class Spectra(torch.nn.Module):
    """As a constant-Q transform: both parts by a convolution, and then stacked."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(torch.nn.Conv1d(1, 6, 3) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pairs = torch.stack([part(x) for part in self.parts], -1)
        return torch.view_as_complex(pairs).abs()


def test_pairs_lie_side_by_side_whatever_passes_make_of_them() -> None:
    module, x = Spectra(), torch.randn(2, 1, 20)
    graph = traced(module, x)
    apply(graph)
    view = next(n for n in graph.graph.nodes if n.target is aten.view_as_complex.default)
    assert view.args[0].target is aten.contiguous.default
    with torch.no_grad():
        torch.testing.assert_close(graph(x), module(x))


def test_inductor_has_no_complex_operators() -> None:
    """When it has some, the table may get shorter."""
    from torch._inductor.lowering import unsupported_input_tensor
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        z = torch.empty(2, dtype=torch.complex64)
    with pytest.warns(UserWarning, match="complex operators"):
        assert unsupported_input_tensor(z)
