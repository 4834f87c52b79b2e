"""Results that Inductor may take for what they are computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from aotbuild.steps.compile.own_results import results_of_their_own

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")

X = torch.arange(12.0).reshape(3, 4)

APART: dict[str, Callable[[Any], Any]] = {
    "times one": lambda x: (x, x * 1),
    "over one": lambda x: (x / 1.0, x),
    "plus nothing": lambda x: (x + 0, x),
    "less nothing": lambda x: (x, x - 0.0),
    "times ones": lambda x: (x, x * torch.ones(4)),
    "zeros plus": lambda x: (x, torch.zeros(3, 4) + x),
    "twice": lambda x: (x, (x * torch.ones(4)) * torch.ones(())),
    "each of two": lambda x: (x * torch.ones(4), x / torch.ones(4)),
    "of what is computed": lambda x: (y := x.sin(), y * 1, y + torch.zeros(4)),
    "a view": lambda x: (x, (x * torch.ones(4)).view(-1)),
    "two views of what is computed": lambda x: (
        (y := x.sin()).t(),
        (y * torch.ones(4)).t(),
        y[0],
    ),
    "two views": lambda x: (x.t(), (x * torch.ones(4)).t()),
}


def simplified(function: Callable[[Any], Any], *, own: bool = True) -> torch.fx.GraphModule:
    """The graph of a function, as Inductor simplifies it."""
    from torch._inductor.fx_passes import joint_graph, post_grad

    module = make_fx(function, tracing_mode="fake")(X)
    calls = module.graph.find_nodes
    ones = set(calls(op="call_function", target=torch.ops.aten.ones.default))
    zeros = set(calls(op="call_function", target=torch.ops.aten.zeros.default))
    sets: Any = (zeros, ones)
    if own:
        with results_of_their_own():
            joint_graph.remove_no_ops(module, *sets)
    else:
        joint_graph.remove_no_ops(module, *sets)
    post_grad.remove_noop_ops(module.graph)
    module.graph.lint()
    module.recompile()
    return module


def storages(results: tuple[torch.Tensor, ...], *given: torch.Tensor) -> list[int]:
    return [each.untyped_storage().data_ptr() for each in (*results, *given)]


@pytest.mark.parametrize("function", APART.values(), ids=APART)
def test_results_have_memory_of_their_own(function: Callable[[Any], Any]) -> None:
    module, x = simplified(function), X.clone()
    results, expected = module(x), function(x)
    found, wanted = storages(results, x), storages(expected, x)
    assert [each == found[-1] for each in found] == [each == wanted[-1] for each in wanted]
    assert len(set(found)) == len(set(wanted))
    for result, value in zip(results, expected, strict=True):
        torch.testing.assert_close(result, value, rtol=0, atol=0)


def test_torch_makes_them_one() -> None:
    """What keeps them apart can go when torch does."""
    first, second = simplified(APART["times ones"], own=False)(X)
    assert first.data_ptr() == second.data_ptr()


@pytest.mark.parametrize(
    "function", [lambda x: x * 2, lambda x: (x * torch.ones(4)).sin()], ids=["computed", "within"]
)
def test_no_copy_is_left_where_none_is_needed(function: Callable[[Any], Any]) -> None:
    targets = [str(node.target) for node in simplified(function).graph.nodes]
    assert not any("clone" in target for target in targets)
