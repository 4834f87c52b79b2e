"""Which operators on complex tensors Inductor takes apart.

Inductor (torch 2.13) compiles no operator on complex tensors. It calls torch's functions for some
of them; all others have to be looked up by torch's own runner in each call, and without torch there
is nothing to look them up. Those are computed here from real and imaginary parts, which Inductor
compiles and fuses. ``test_inductor_has_no_complex_operators`` notices when one can go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch.utils import _pytree as pytree

from aotbuild.passes.complex_numbers import arithmetic
from aotbuild.passes.complex_numbers.transforms import to_real

aten: Any = torch.ops.aten

OPERATORS: dict[Any, Callable[..., torch.Tensor]] = {
    aten.neg.default: arithmetic.negative,
    aten._conj.default: arithmetic.conjugate,
    aten.conj_physical.default: arithmetic.conjugate,
    aten.exp.default: arithmetic.exponential,
    aten.log.default: arithmetic.logarithm,
    aten.sqrt.default: arithmetic.square_root,
    aten.sin.default: arithmetic.sine,
    aten.cos.default: arithmetic.cosine,
    aten.div.Tensor: arithmetic.quotient,
    aten.div.Scalar: arithmetic.quotient,
    aten.reciprocal.default: arithmetic.inverse,
    aten.sgn.default: arithmetic.direction,
    aten.where.self: arithmetic.chosen,
    aten.sum.default: arithmetic.total,
    aten.sum.dim_IntList: arithmetic.total,
    aten.mean.default: arithmetic.average,
    aten.mean.dim: arithmetic.average,
    aten.eq.Tensor: arithmetic.equal,
    aten.eq.Scalar: arithmetic.equal,
    aten.ne.Tensor: arithmetic.different,
    aten.ne.Scalar: arithmetic.different,
    aten.full.default: arithmetic.filled,
    aten.constant_pad_nd.default: arithmetic.padded,
    aten.flip.default: arithmetic.reversed_along,
    aten.mm.default: arithmetic.product,
    aten.bmm.default: arithmetic.product,
    aten.unsqueeze.default: arithmetic.with_dimension,
    aten.expand.default: arithmetic.expanded,
    aten._fft_c2r.default: to_real,
}
"""What takes the place of an operator, if one of its arguments is complex, or of a complex type."""


@contextlib.contextmanager
def in_real_parts() -> Iterator[None]:
    """Let Inductor take these operators apart."""
    from torch._inductor import decomposition

    # The tables of both ways in which it may draw random numbers.
    tables: Any = (decomposition.decompositions, decomposition.fast_random_decomps())
    with contextlib.ExitStack() as stack:
        for table in tables:
            own = {name: _of_complex(call, table.get(name)) for name, call in OPERATORS.items()}
            own[aten.complex.default] = arithmetic.of_parts  # which has no complex argument
            stack.enter_context(patch.dict(table, own))
        yield


def _of_complex(call: Callable[..., Any], others: Callable[..., Any] | None) -> Any:
    """A decomposition of an operator on complex tensors; other ones stay as they are."""

    def decomposed(*args: Any, **kwargs: Any) -> Any:
        if any(map(_is_complex, pytree.tree_leaves((args, kwargs)))):
            return call(*args, **kwargs)
        return NotImplemented if others is None else others(*args, **kwargs)

    return decomposed


def _is_complex(argument: Any) -> bool:
    dtype = argument.dtype if isinstance(argument, torch.Tensor) else argument
    return isinstance(argument, complex) or (isinstance(dtype, torch.dtype) and dtype.is_complex)
