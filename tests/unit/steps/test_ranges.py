"""The sizes that compiled code is right for: guards narrow a range or become a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Input
from aotbuild.steps.sizes.ranges import Ranges, compiled_ranges
from aotbuild.steps.sizes.symbols import SizeSymbol, dimension_symbols, named

Guard = Callable[[Any, Any], Any]

INPUTS = [Input("a", "float32", ["rows", 3], [0, 1]), Input("b", "float32", ["cols", 3], [0, 1])]
DECLARED = {"rows": Dim(1, 64), "cols": Dim(1, None)}


class Net(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a.sum() + b.sum()


def traced(declared: dict[str, Dim], rows: int, cols: int) -> torch.fx.Graph:
    """A graph in which no guard is set yet."""
    dims = {name: torch.export.Dim(name, min=d.min, max=d.max) for name, d in declared.items()}
    program = torch.export.export(
        Net(),
        (torch.zeros(rows, 3), torch.zeros(cols, 3)),
        dynamic_shapes={"a": {0: dims["rows"]}, "b": {0: dims["cols"]}},
    )
    module: Any = program.module(check_guards=False)
    graph: torch.fx.Graph = module.graph
    return graph


def ranges(
    *guards: Guard, declared: dict[str, Dim] | None = None, rows: int = 4, cols: int = 5
) -> Ranges:
    """The ranges after Inductor asked ``guards`` about the two sizes."""
    declared = declared or DECLARED
    graph = traced(declared, rows, cols)
    first, second = [node for node in graph.nodes if node.op == "placeholder"]
    for guard in guards:
        bool(guard(first.meta["val"].shape[0], second.meta["val"].shape[0]))
    return compiled_ranges(graph, INPUTS, declared, {"rows": rows, "cols": cols})


def accepted(found: Ranges, rows: int, cols: int) -> bool:
    """Whether the generated checks let these sizes pass."""
    sizes = {"rows": rows, "cols": cols}
    inside = all(
        dim.min <= sizes[name] and (dim.max is None or sizes[name] <= dim.max)
        for name, dim in found.dims.items()
    )
    return inside and all(eval(text, {}, sizes) for text in found.conditions)  # noqa: S307


def test_without_guards_the_declared_ranges_hold() -> None:
    assert ranges() == Ranges(DECLARED, [])


def test_a_model_without_dynamic_sizes_has_no_ranges() -> None:
    program = torch.export.export(Net(), (torch.zeros(4, 3), torch.zeros(5, 3)))
    module: Any = program.module(check_guards=False)
    inputs = [Input("a", "float32", [4, 3], [0, 1]), Input("b", "float32", [5, 3], [0, 1])]
    assert compiled_ranges(module.graph, inputs, {}, {}) == Ranges({}, [])


@pytest.mark.parametrize(
    ("guard", "dims"),
    [
        (lambda rows, _: rows < 16, {"rows": Dim(1, 15)}),
        (lambda rows, _: rows >= 16, {"rows": Dim(1, 15)}),
        (lambda rows, _: rows > 3, {"rows": Dim(4, 64)}),
        (lambda rows, _: rows <= 4, {"rows": Dim(1, 4)}),
        (lambda rows, _: 2 * rows < 17, {"rows": Dim(1, 8)}),
        (lambda rows, _: rows * rows < 100, {"rows": Dim(1, 9)}),
        (lambda rows, _: rows // 4 < 3, {"rows": Dim(1, 11)}),
        (lambda _, cols: cols >= 4, {"cols": Dim(4, None)}),
        (lambda _, cols: cols < 1_000_000, {"cols": Dim(1, 999_999)}),
    ],
)
def test_a_guard_on_one_dimension_narrows_its_range(guard: Guard, dims: dict[str, Dim]) -> None:
    assert ranges(guard) == Ranges(DECLARED | dims, [])


def test_two_guards_narrow_a_range_from_both_ends() -> None:
    found = ranges(lambda rows, _: rows < 16, lambda rows, _: rows > 2)
    assert found == Ranges(DECLARED | {"rows": Dim(3, 15)}, [])


@pytest.mark.parametrize(
    "guard",
    [
        lambda rows, _: rows != 1,
        lambda rows, _: rows == 0,
        lambda rows, _: rows > 1,
        lambda rows, _: rows * 3 != 3,
        lambda _, cols: cols != 1,
    ],
)
def test_supposing_that_a_size_is_neither_0_nor_1_narrows_nothing(guard: Guard) -> None:
    assert ranges(guard) == Ranges(DECLARED, [])
    from_0 = {"rows": Dim(0, 64), "cols": Dim(0, None)}
    assert ranges(guard, declared=from_0) == Ranges(from_0, [])


@pytest.mark.parametrize(
    "guard",
    [
        lambda rows, _: rows < 65,
        lambda rows, _: rows > 100,
        lambda rows, _: rows * 2 <= 128,
        lambda rows, cols: rows + cols > 2,
        lambda rows, cols: rows * cols >= 0,
        lambda rows, cols: 32 * cols < 32 * rows * cols,
        lambda rows, cols: rows * cols + rows != rows,
    ],
)
def test_a_guard_that_the_declared_ranges_imply_is_dropped(guard: Guard) -> None:
    assert ranges(guard) == Ranges(DECLARED, [])


def test_a_guard_that_bounds_do_not_prove_is_tried_for_every_size_where_they_are_few() -> None:
    def guard(rows: Any, cols: Any) -> Any:
        smaller: Any = torch.sym_min
        return smaller(8 * rows + 8 * cols, 16 * rows + 16 * cols) == 8 * rows + 8 * cols

    few = {"rows": Dim(1, 64), "cols": Dim(0, 96)}
    assert ranges(guard, declared=few) == Ranges(few, [])
    found = ranges(lambda rows, cols: rows * cols != 63 * 95, declared=few)
    assert found.conditions != []  # one combination of 5,985 is enough to keep it


def test_a_guard_that_an_earlier_one_implies_is_dropped() -> None:
    found = ranges(lambda rows, _: rows < 16, lambda rows, _: rows < 32)
    assert found == Ranges(DECLARED | {"rows": Dim(1, 15)}, [])


@pytest.mark.parametrize(
    ("guard", "condition"),
    [
        (lambda rows, _: rows % 2 == 0, "(rows % 2) == 0"),
        (lambda rows, _: rows == 5, "rows != 5"),
        (lambda rows, cols: rows < cols, "rows < cols"),
    ],
)
def test_what_is_no_single_range_becomes_a_condition_in_the_declared_names(
    guard: Guard, condition: str
) -> None:
    assert ranges(guard) == Ranges(DECLARED, [condition])


@pytest.mark.parametrize(
    ("guard", "rows", "cols", "fitting", "unfitting"),
    [
        (lambda rows, cols: rows * cols < 1000, 4, 5, [(2, 3), (64, 15)], [(64, 16)]),
        (lambda rows, cols: (rows + cols) % 3 == 0, 4, 5, [(5, 7)], [(4, 4), (5, 5)]),
        (lambda rows, cols: rows == cols, 4, 4, [(4, 4), (9, 9)], [(4, 5), (9, 8)]),
        (lambda rows, cols: cols == rows, 4, 4, [(4, 4), (9, 9)], [(4, 5), (9, 8)]),
        (lambda rows, cols: cols == 2 * rows, 4, 8, [(4, 8), (5, 10)], [(4, 9), (4, 4)]),
        (lambda rows, cols: rows == 2 * cols, 8, 4, [(8, 4), (10, 5)], [(9, 4), (4, 4)]),
        (lambda rows, cols: rows == cols + 1, 6, 5, [(6, 5), (10, 9)], [(6, 6), (9, 10)]),
        (lambda rows, _: rows == 4, 4, 5, [(4, 5), (4, 90)], [(5, 5), (3, 5)]),
        (lambda _, cols: cols == 5, 4, 5, [(4, 5), (60, 5)], [(4, 6), (4, 4)]),
        (lambda rows, _: rows // 4 == 2, 9, 5, [(8, 5), (11, 5)], [(7, 5), (12, 5)]),
    ],
)
def test_the_checks_let_exactly_those_sizes_pass_for_which_a_guard_holds(
    guard: Guard,
    rows: int,
    cols: int,
    fitting: list[tuple[int, int]],
    unfitting: list[tuple[int, int]],
) -> None:
    found = ranges(guard, rows=rows, cols=cols)
    assert [sizes for sizes in fitting if not accepted(found, *sizes)] == []
    assert [sizes for sizes in unfitting if accepted(found, *sizes)] == []


def test_conditions_are_told_once_and_in_a_fixed_order() -> None:
    found = ranges(
        lambda rows, cols: rows < cols,
        lambda rows, _: rows % 2 == 0,
        lambda rows, cols: rows < cols,
    )
    assert found.conditions == ["(rows % 2) == 0", "rows < cols"]


def test_symbols_follow_the_names_of_the_declaration() -> None:
    graph = traced(DECLARED, 4, 5)
    symbols, shape_env = dimension_symbols(graph, INPUTS)
    assert list(symbols.values()) == [SizeSymbol(Affine("rows")), SizeSymbol(Affine("cols"))]
    assert shape_env is not None
    rows, cols = symbols
    assert named(2 * rows, symbols) == "2*rows"
    assert named(rows + cols, symbols) == "cols + rows"


def test_one_name_for_two_dimensions_is_one_symbol() -> None:
    class Sum(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    rows = torch.export.Dim("rows", min=1, max=64)
    pair = (torch.zeros(4, 3), torch.zeros(4, 3))
    program = torch.export.export(Sum(), pair, dynamic_shapes={"a": {0: rows}, "b": {0: rows}})
    module: Any = program.module(check_guards=False)
    inputs = [INPUTS[0], Input("b", "float32", ["rows", 3], [0, 1])]
    declared = {"rows": Dim(1, 64)}
    assert compiled_ranges(module.graph, inputs, declared, {"rows": 4}) == Ranges(declared, [])
