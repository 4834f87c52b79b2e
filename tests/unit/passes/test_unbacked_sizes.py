"""Sizes that follow from data: every pass asks for them without a condition, or steps back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from graphs import calls
from torch import nn
from torch.nn.functional import conv2d, linear, pad, scaled_dot_product_attention

from aotbuild.passes import pipeline
from aotbuild.passes.pipeline import PASSES, REWRITES, Pass, apply, rewrite
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps

# torch warns of the weights of recurrent layers that it traces.
pytestmark = pytest.mark.filterwarnings("ignore")

X = torch.randn(12, 16, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(5, 16, 9, 9, generator=torch.Generator().manual_seed(0))
NUMBER = torch.tensor(4)


class Layers(nn.Module):
    """Layers of all kinds, and what is computed of them."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        super().__init__()
        self.compute = compute
        self.linear = nn.Linear(16, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.gru = nn.GRU(16, 16, bidirectional=True)
        self.conv = nn.Conv1d(16, 16, 3, padding=1)
        self.conv2d = nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.weight = nn.Parameter(torch.randn(64, 16))
        self.register_buffer("count", torch.tensor(4))
        self.register_buffer("counts", torch.tensor([4, 20, 40]))

    def forward(self, *args: torch.Tensor) -> Any:
        return self.compute(self, *args)


check: Any = torch._check
attention: Any = scaled_dot_product_attention


def some(x: torch.Tensor) -> torch.Tensor:
    """Some of the rows, as many as the data say."""
    rows = x[x.flatten(1).sum(1) > -1000]
    check(rows.shape[0] >= 1)
    return rows


def number(n: Any, low: int = 2, high: int = 16) -> Any:
    value = n.item()
    check(value >= low)
    check(value <= high)
    return value


def heads(x: torch.Tensor) -> torch.Tensor:
    return x.view(1, x.shape[0], 4, 4).transpose(1, 2)


def by_hand(q: torch.Tensor, hidden: Any = None, scale: Any = 0.25) -> torch.Tensor:
    scores = (q @ q.transpose(-1, -2)) * scale
    if hidden is not None:
        scores = scores.masked_fill(hidden(q[0]), float("-inf"))
    result: torch.Tensor = scores.softmax(-1) @ q
    return result


def square(x: torch.Tensor, *, boolean: bool = True) -> torch.Tensor:
    n = x.shape[0]
    return torch.ones(n, n, dtype=torch.bool).triu(1) if boolean else torch.zeros(n, n)


def attend(x: torch.Tensor, mask: Any = None, **given: Any) -> torch.Tensor:
    if mask is not None:
        given["attn_mask"] = mask(x)
    result: torch.Tensor = attention(x[None, None], x[None, None], x[None, None], **given)
    return result


def split_constants(own: Any, x: torch.Tensor) -> list[torch.Tensor]:
    sizes = [number(each, high=64) for each in own.counts.unbind()]
    check(sum(sizes) == 64)
    return [linear(x, part) for part in own.weight.split(sizes)]


def plus_itself(own: Layers, x: torch.Tensor) -> torch.Tensor:
    rows = some(x)
    result: torch.Tensor = own.conv2d(rows) + rows
    return result.relu()


def all_true(mask: torch.Tensor) -> torch.Tensor:
    return torch.ones(mask.shape[0], dtype=torch.bool) & mask


def two_convolutions(own: Layers, x: torch.Tensor) -> torch.Tensor:
    one, other = some(x), some(x * 2)
    check(one.shape[0] == other.shape[0])
    result: torch.Tensor = own.conv2d(one) + own.conv2d(other)
    return result.relu()


CASES: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...], dict[str, int]]] = {
    "attention": (lambda _, x: attend(some(x)), (X,), {"attention": 1}),
    "causal": (lambda _, x: attend(some(x), is_causal=True), (X,), {"attention": 1}),
    "heads": (
        lambda _, x: attention(*[heads(some(x))] * 3),
        (X,),
        {"attention": 1},
    ),
    "several lengths": (
        lambda _, x, y: attention(some(x)[None], *[some(y)[None]] * 2),
        (X, X),
        {"attention": 1},
    ),
    "batch": (lambda _, x: by_hand(some(x)[:, None].expand(-1, 5, -1)), (X,), {"attention": 1}),
    "mask of bool": (
        lambda _, x: attend(some(x), mask=lambda rows: ~square(rows)),
        (X,),
        {"attention": 1},
    ),
    "mask of zeros": (
        lambda _, x: attend(some(x), mask=lambda rows: square(rows, boolean=False)),
        (X,),
        {"attention": 1, "constant_masks": 1},
    ),
    "by hand": (lambda _, x: by_hand(some(x)[None]), (X,), {"attention": 1}),
    "by hand with a mask": (
        lambda _, x: by_hand(some(x)[None], square),
        (X,),
        {"attention": 1},
    ),
    "scaled by a number of the data": (
        lambda _, x, n: by_hand(x[None], scale=number(n)),
        (X, NUMBER),
        {},
    ),
    "width": (lambda _, x, n: by_hand(x[None, :, : number(n)]), (X, NUMBER), {}),
    "module": (
        lambda own, x: own.attention(*[some(x)[None]] * 3)[0],
        (X,),
        {"attention": 1, "linear": 2},
    ),
    "rows of a product": (lambda own, x: own.linear(some(x)), (X,), {"linear": 1}),
    "width of a product": (
        lambda own, x, n: linear(x[:, : number(n)], own.weight[:, : number(n)]),
        (X, NUMBER),
        {},
    ),
    "rows of a constant": (
        lambda own, x: linear(x, own.weight[: number(own.count)]),
        (X,),
        {},
    ),
    "parts of a constant": (split_constants, (X,), {}),
    "filters of a constant": (
        lambda own, x: conv2d(x, own.conv2d.weight[: number(own.count)]),
        (IMAGES,),
        {},
    ),
    "steps": (lambda own, x: own.lstm(some(x)[None])[0], (X,), {"recurrent": 1}),
    "rows of a recurrent layer": (
        lambda own, x: own.lstm(some(x)[:, None].expand(-1, 5, -1))[0],
        (X,),
        {"recurrent": 1},
    ),
    "rows in two directions": (
        lambda own, x: own.gru(some(x)[None].expand(5, -1, -1))[0],
        (X,),
        {"recurrent": 1},
    ),
    "length of a signal": (lambda own, x: own.conv(some(x).t()[None]), (X,), {"convolution": 1}),
    "images": (
        lambda own, x: own.norm(own.conv2d(some(x))).relu(),
        (IMAGES,),
        {"convolution": 1, "fold_batch_norm": 1},
    ),
    "sum of an image": (
        plus_itself,
        (IMAGES,),
        {"convolution": 1},
    ),
    "sum of two": (two_convolutions, (IMAGES,), {"convolution": 2}),
    "zeros around": (
        lambda own, x, n: own.conv(pad(x.t()[None], (number(n), number(n)))),
        (X, NUMBER),
        {"convolution": 1},
    ),
    "bounds": (
        lambda own, x, n: own.conv(x.t()[None]).clamp(0, number(n)),
        (X, NUMBER),
        {"convolution": 1},
    ),
    "masks": (
        lambda _, x: torch.where(all_true(some(x).sum(1) > 0), 1.0, 2.0),
        (X,),
        {"constant_masks": 1},
    ),
    "counted": (
        lambda _, x, n: torch.where(torch.arange(number(n)) >= 0, 1.0, x[0, : number(n)]),
        (X, NUMBER),
        {},
    ),
    "selected": (lambda _, x: x.masked_select(x > 0) + torch.zeros(1), (X,), {}),
    "nonzero": (lambda own, x: own.linear(x[x.nonzero()[:, 0]]), (X,), {"linear": 1}),
}


@pytest.fixture(scope="module")
def programs() -> Callable[[str], Any]:
    """Exports each case once."""
    known: dict[str, Any] = {}

    def program(case: str) -> Any:
        if case not in known:
            compute, args, _ = CASES[case]
            module = Layers(compute).eval()
            with torch.no_grad(), dynamic_steps():
                known[case] = module, torch.export.export(module, args, strict=False)
        return known[case]

    return program


@pytest.mark.parametrize("precision", ["", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_passes_rewrite_what_is_right_for_all_sizes(
    case: str, precision: str, programs: Callable[[str], Any]
) -> None:
    module, program = programs(case)
    graph = program.module(check_guards=False)
    applied = apply(graph, precision=precision)
    assert not applied.failed
    if not precision:
        assert applied.counts == CASES[case][2]
    _assert_same(graph, module, case, 5e-2 if precision else 1e-4)


@pytest.mark.parametrize("name", REWRITES)
@pytest.mark.parametrize("case", CASES)
def test_rewrites_of_recipes_are_right_too(
    case: str, name: str, programs: Callable[[str], Any]
) -> None:
    module, program = programs(case)
    graph = program.module(check_guards=False)
    rewrite(graph, [name])
    _assert_same(graph, module, case, 5e-2)


def _assert_same(graph: Any, module: nn.Module, case: str, tolerance: float) -> None:
    args = CASES[case][1]
    with torch.no_grad():
        torch.testing.assert_close(graph(*args), module(*args), rtol=tolerance, atol=tolerance)


def test_a_pass_that_fails_steps_aside(
    programs: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(graph: torch.fx.GraphModule) -> int:
        with graph.graph.inserting_before(graph.graph.output_node()):
            graph.graph.call_function(torch.relu, (next(iter(graph.graph.nodes)),))
        raise LookupError("of a size")

    monkeypatch.setitem(PASSES, "attention", Pass(fail, derives=False))
    module, program = programs("module")
    graph = program.module(check_guards=False)
    applied = pipeline.apply(graph)
    assert applied.counts == {"linear": 2}
    assert [(name, str(error)) for name, error in applied.failed.items()] == [
        ("attention", "of a size")
    ]
    assert not [target for target in calls(graph) if "relu" in target]
    _assert_same(graph, module, "module", 1e-4)


@pytest.mark.parametrize(
    ("part", "bounds"),
    [
        (lambda x, n: x[:n], (0, None)),
        (lambda x, n: x[n:], (None, torch.iinfo(torch.int64).max)),
        (lambda x, n: x[:n:2], (0, None)),
    ],
)
def test_bounds_of_slices_up_to_a_number_of_the_data_are_written_out(
    part: Callable[..., torch.Tensor], bounds: tuple[Any, Any]
) -> None:
    module = Layers(lambda _, x, n: part(x, n.int().item()))
    graph: Any = torch.export.export(module, (X, NUMBER), strict=False).module(check_guards=False)
    assert not apply(graph, []).failed
    (node,) = graph.graph.find_nodes(op="call_function", target=torch.ops.aten.slice.Tensor)
    for given, expected in zip(node.args[2:4], bounds, strict=True):
        assert given == expected if expected is not None else isinstance(given, torch.fx.Node)
    for n in (0, 3, 40):
        assert torch.equal(graph(X, torch.tensor(n)), part(X, n))
