"""Negative indices where eager torch takes none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from graphs import calls, traced

from aotbuild.passes.pipeline import apply

X = torch.arange(20.0).reshape(5, 4)
TABLE = torch.tensor([3, 0, 1])


class Called(torch.nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.register_buffer("rows", TABLE.clone())

    def forward(self, x: torch.Tensor, i: torch.Tensor) -> Any:
        return self.function(x, i, self.rows)


OPERATORS: dict[str, Any] = {
    "index_add": lambda x, i, _: x.index_add(0, i, x[:3]),
    "index_add_": lambda x, i, _: x.clone().index_add_(0, i, x[:3]),
    "index_add of a scale": lambda x, i, _: x.index_add(0, i, x[:3], alpha=2),
    "index_copy": lambda x, i, _: x.index_copy(0, i, x[:3]),
    "index_reduce": lambda x, i, _: x.index_reduce(0, i, x[:3], "amax"),
    "index_select": lambda x, i, _: x.index_select(1, i),
}


@pytest.mark.filterwarnings("ignore:index_reduce")  # is in beta, says torch
@pytest.mark.parametrize("function", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_negative_indices_are_out_of_range(function: Any, dtype: torch.dtype) -> None:
    module, index = Called(function), TABLE.to(dtype)
    if dtype is torch.int32 and function is OPERATORS["index_copy"]:
        pytest.skip("index_copy takes no other indices")
    graph = traced(module, X, index)
    apply(graph, [])
    assert calls(graph)["aten.masked_fill.Scalar"] == 1
    assert torch.equal(graph(X, index), module(X, index))
    with pytest.raises((IndexError, RuntimeError)):
        module(X, index - 1)
    with pytest.raises((IndexError, RuntimeError)):
        graph(X, index - 1)


OTHERS: dict[str, Any] = {
    "indexing counts from the end": lambda x, i, _: x[i],
    "index_fill counts from the end": lambda x, i, _: x.index_fill(0, i, 1.0),
    "constant indices": lambda x, _, rows: x.index_select(0, rows),
    "gather checks itself": lambda x, i, _: x.gather(0, i[:, None]),
}


@pytest.mark.parametrize("function", OTHERS.values(), ids=OTHERS)
def test_others_stay_as_they_are(function: Any) -> None:
    graph = traced(Called(function), X, TABLE)
    before = calls(graph)
    apply(graph, [])
    assert calls(graph) == before
