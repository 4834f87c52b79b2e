"""What is done alike for every program."""

from __future__ import annotations

import pytest
import torch

from aotbuild.errors import ExportError
from aotbuild.runtime.dims import Dim
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.export.traced import (
    _failing_fix,
    dense,
    refuse_unstorable,
    stride_order,
)

IMAGE = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
LAYOUTS = {
    "contiguous": (IMAGE, [0, 1, 2, 3]),
    "channels last": (IMAGE.to(memory_format=torch.channels_last), [0, 2, 3, 1]),
    "transposed": (IMAGE.mT, [0, 1, 3, 2]),
    "every second": (IMAGE[..., ::2], [0, 1, 2, 3]),
    "a part of channels last": (
        IMAGE.to(memory_format=torch.channels_last)[:, :2, 1:],
        [0, 2, 3, 1],
    ),
    "one channel": (IMAGE[:, :1].to(memory_format=torch.channels_last), [0, 1, 2, 3]),
    "number": (torch.tensor(1.0), []),
    "conjugate": (IMAGE.to(torch.complex64).conj(), [0, 1, 2, 3]),
    "requires gradients": (IMAGE.clone().requires_grad_(), [0, 1, 2, 3]),
}


@pytest.mark.parametrize(("tensor", "order"), LAYOUTS.values(), ids=LAYOUTS)
def test_an_example_is_copied_without_gaps_in_its_own_order(
    tensor: torch.Tensor, order: list[int]
) -> None:
    assert stride_order(tensor) == order
    copy = dense(tensor)
    assert torch.equal(copy, tensor)
    assert copy.permute(order).is_contiguous()
    assert not copy.is_conj()


@pytest.mark.parametrize(
    ("sizes", "told"),
    [({"batch": 4}, "no other range cures that"), ({"batch": 9}, "declare a range that the model")],
)
def test_another_range_is_only_proposed_where_it_helps(sizes: dict[str, int], told: str) -> None:
    call = CallSpec([], {}, {}, {"batch": Dim(1, 9)}, [], {"batch": 4}, [])
    assert told in _failing_fix(call, sizes)


class Sparse(torch.nn.Module):
    adjacency: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("adjacency", torch.eye(4).to_sparse())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.adjacency @ x


def test_a_tensor_that_has_no_memory_is_named() -> None:
    program = torch.export.export(Sparse(), (torch.ones(4, 2),), strict=False)
    with pytest.raises(ExportError, match="the tensor adjacency of the model cannot be stored"):
        refuse_unstorable(program, "net")
