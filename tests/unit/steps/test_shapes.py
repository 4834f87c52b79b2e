"""Dynamic dimensions: told to torch.export, and read back from what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sympy
import torch
from torch.export import Dim as TorchDim

from aotbuild.config import schema
from aotbuild.runtime.dims import Affine, Dim, Size, concrete
from aotbuild.runtime.manifest import Input
from aotbuild.steps.sizes.ranges import Ranges, compiled_ranges
from aotbuild.steps.sizes.shapes import (
    declared_shape,
    dim_names,
    leaf_dims,
    name_dims,
    read_dims,
    torch_dims,
)
from aotbuild.steps.sizes.symbols import SizeSymbol, dimension_symbols, input_values, named

AUTO = schema.DeclaredDim(auto=True)
T = torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("size", "found"),
    [
        (3, 3),
        (0, 0),
        ("batch", "batch"),
        ("1*batch+0", "batch"),
        ("2*batch", Affine("batch", 2, 0)),
        ("batch * 2 + 1", Affine("batch", 2, 1)),
        ("batch-1", Affine("batch", 1, -1)),
    ],
)
def test_a_declared_size_is_told_in_the_terms_of_the_manifest(size: int | str, found: Size) -> None:
    assert declared_shape([size]) == [found]


def told(shape: list[Size], **dims: schema.DeclaredDim) -> dict[int, Any]:
    (found,) = torch_dims([shape], dims)
    return found


def test_only_dynamic_dimensions_are_told() -> None:
    assert list(told([3, "batch", 4], batch=schema.DeclaredDim())) == [1]
    assert told([3, 4]) == {}


def test_a_dimension_is_told_with_its_range() -> None:
    dim = told(["batch"], batch=schema.DeclaredDim(min=2, max=9))[0]
    assert (dim.__name__, dim.min, dim.max) == ("batch", 2, 9)


def test_a_dimension_is_one_in_all_shapes() -> None:
    first, second = torch_dims([["batch"], [3, "batch"]], {"batch": schema.DeclaredDim()})
    assert first[0] is second[1]


def test_a_dimension_that_torch_shall_find_is_told_as_such() -> None:
    assert told(["batch"], batch=AUTO) == {0: TorchDim.AUTO}


@pytest.mark.parametrize(
    ("size", "dim", "fitting"),
    [
        (Affine("n", 2, 1), schema.DeclaredDim(min=1, max=5), [5, 7, 9, 11]),
        (Affine("n", 1, -1), schema.DeclaredDim(min=4, max=6), [3, 4, 5]),
        ("n", schema.DeclaredDim(min=8, max=32, multiple_of=8), [16, 24, 32]),
        # One size further where torch would take the only one that is left as fixed.
        (Affine("n", 3, 0), schema.DeclaredDim(min=4, max=8, multiple_of=4), [24, 36]),
        ("n", schema.DeclaredDim(min=2, max=3), [2, 3]),
    ],
)
def test_torch_takes_exactly_the_declared_sizes(
    size: Size, dim: schema.DeclaredDim, fitting: list[int]
) -> None:
    # Those apart in which a symbol is 0 or 1, which every trace supposes away.
    tensors = (torch.zeros(fitting[-1]),)
    shapes = (told([size], n=dim),)
    program = torch.export.export(Separate(), (tensors,), dynamic_shapes=(shapes,))
    (value,) = input_values(program.graph, 1)
    expression = value.shape[0].node.expr
    (symbol,) = expression.free_symbols
    found = program.range_constraints[symbol]
    sizes = [expression.subs(symbol, n) for n in range(int(found.lower), int(found.upper) + 1)]
    assert sizes == fitting


B = TorchDim("batch", min=1, max=64)
LEAVES: list[tuple[Any, Any, list[Any]]] = [
    ({"x": {0: B}}, {"x": T}, [{0: B}]),
    ({"x": (B, None)}, {"x": T}, [(B, None)]),
    ({"x": None}, {"x": T}, [None]),
    (None, {"x": T, "y": [T]}, [None, None]),
    ({"y": {0: B}}, {"x": T, "y": T}, [None, {0: B}]),
    (({0: B}, None), {"x": T, "y": T}, [{0: B}, None]),
    ([{0: B}, {}], {"x": T, "y": T}, [{0: B}, {}]),
    ({"x": [{0: B}, None]}, {"x": (T, T)}, [{0: B}, None]),
    ({"x": {"k": {0: B}}}, {"x": {"j": T, "k": T}}, [None, {0: B}]),
    ({"x": {0: B}, "flag": None}, {"x": T, "flag": True}, [{0: B}]),
    ({"x": ({0: B}, None, None)}, {"x": (T, 3, [T, T])}, [{0: B}, None, None]),
    ({"rest": ({0: B}, {1: B})}, {"rest": (T, T)}, [{0: B}, {1: B}]),
]


@pytest.mark.parametrize(("spec", "value", "found"), LEAVES)
def test_dynamic_shapes_in_torchs_notation_are_told_for_each_tensor(
    spec: Any, value: Any, found: list[Any]
) -> None:
    assert leaf_dims(spec, value) == found


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        ({"imag": {0: B}}, {"image": T}, r"\['imag'\] are not among \['image'\]"),
        (({0: B},), {"x": T, "y": T}, "does not fit 2 values"),
        ({"x": {0: B}}, {"x": (T, T)}, "does not fit 2 values"),
        ({"x": 3}, {"x": [T]}, "3 does not fit 1 values"),
    ],
)
def test_dynamic_shapes_of_another_structure_are_refused(
    spec: Any, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        leaf_dims(spec, value)


def test_dimensions_have_the_names_that_torch_was_told() -> None:
    seq = TorchDim("seq", max=9)
    specs = [{0: B, 1: TorchDim.AUTO}, (None, seq), None, {}, {0: 2 * B, 1: seq + 1}]
    assert dim_names(specs) == [{0: "batch"}, {1: "seq"}, {}, {}, {0: "batch", 1: "seq"}]


@pytest.mark.parametrize("step", [1, 2, 8])
@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (2, 0), (2, 1), (3, -2), (1, 5)])
def test_a_symbol_is_as_large_as_its_dimension_says(step: int, factor: int, offset: int) -> None:
    linear = SizeSymbol(Affine("n", factor, offset), step)
    (n,) = sympy.symbols("n", integer=True, seq=True)
    for size in range(40):
        expected = (factor * size + offset) // step
        assert linear.at(size) == expected
        assert int(linear.solved.subs(n, size)) == expected


@pytest.mark.parametrize("step", [1, 2, 5])
@pytest.mark.parametrize(("factor", "offset"), [(1, 0), (3, 1), (3, -2)])
@pytest.mark.parametrize("dim", [Dim(1, 20), Dim(4, 9), Dim(3, None)], ids=str)
def test_the_range_of_a_symbol_holds_every_symbol_of_the_dimension(
    step: int, factor: int, offset: int, dim: Dim
) -> None:
    linear = SizeSymbol(Affine("n", factor, offset), step)
    exact = [
        (factor * n + offset) // step
        for n in range(dim.min, (dim.max or 50) + 1)
        if (factor * n + offset) % step == 0
    ]
    found = linear.range_for(dim)
    assert found.min <= min(exact) < found.min + max(factor, 1)
    assert (found.max is None) == (dim.max is None)
    assert found.max is None or max(exact) <= found.max < max(exact) + max(factor, 1)


@pytest.mark.parametrize(
    ("linear", "dim", "symbol", "found"),
    [
        (SizeSymbol(Affine("n")), Dim(1, 64), Dim(3, 9), Dim(3, 9)),
        (SizeSymbol(Affine("n")), Dim(1, 64), Dim(1, 64), Dim(1, 64)),
        (SizeSymbol(Affine("n"), 8), Dim(8, 64, 8), Dim(1, 3), Dim(8, 24, 8)),
        (SizeSymbol(Affine("n"), 8), Dim(8, None, 8), Dim(2, None), Dim(16, None, 8)),
        (SizeSymbol(Affine("n", 2, 1)), Dim(1, 64), Dim(6, 12), Dim(3, 5)),
        (SizeSymbol(Affine("n", 1, -1)), Dim(1, None), Dim(4, 7), Dim(5, 8)),
        (SizeSymbol(Affine("n"), 2), Dim(3, 9), Dim(2, 4), Dim(3, 9)),
    ],
)
def test_a_narrower_symbol_narrows_its_dimension(
    linear: SizeSymbol, dim: Dim, symbol: Dim, found: Dim
) -> None:
    assert linear.narrowed(dim, symbol) == found


class Separate(torch.nn.Module):
    """Every size for itself."""

    def forward(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([tensor.sum() for tensor in tensors]).sum()


class Equal(torch.nn.Module):
    def forward(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        first, *others = tensors
        for other in others:
            first = first + other
        return first


class Twice(torch.nn.Module):
    def forward(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        first, second = tensors
        return torch.cat([first, first]) + second


class Shifted(torch.nn.Module):
    def forward(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        first, second = tensors
        return first[1:] + second


class Fixed(torch.nn.Module):
    def forward(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        return tensors[0] + torch.ones(4)


def traced(
    module: torch.nn.Module, sizes: Mapping[str, int], shapes: Sequence[list[Size]], specs: Any
) -> torch.export.ExportedProgram:
    tensors = tuple(torch.zeros(concrete(shape, sizes)) for shape in shapes)
    return torch.export.export(module, (tensors,), dynamic_shapes=(tuple(specs),))


def read(
    module: torch.nn.Module,
    shapes: list[list[Size]],
    dims: dict[str, schema.DeclaredDim],
    **sizes: int,
) -> tuple[list[list[Size]], dict[str, Dim]]:
    program = traced(module, sizes, shapes, torch_dims(shapes, dims))
    return read_dims(program, shapes, dims)


NARROW = schema.DeclaredDim(min=2, max=9)
FREE = [["n"], ["m"]]
Case = tuple[
    torch.nn.Module,
    list[list[Size]],
    dict[str, schema.DeclaredDim],
    dict[str, int],
    list[list[Size]],
    dict[str, Dim],
]
READ: dict[str, Case] = {
    "declared": (
        Separate(),
        [["n"], ["m"]],
        {"n": NARROW, "m": schema.DeclaredDim(min=8, multiple_of=8)},
        {"n": 4, "m": 16},
        [["n"], ["m"]],
        {"n": Dim(2, 9), "m": Dim(8, None, 8)},
    ),
    "auto": (Separate(), [["n"]], {"n": AUTO}, {"n": 4}, [["n"]], {"n": Dim(1, None)}),
    "auto in a range": (
        Separate(),
        [["n", 3]],
        {"n": schema.DeclaredDim(auto=True, min=3, max=9)},
        {"n": 4},
        [["n", 3]],
        {"n": Dim(3, 9)},
    ),
    "auto but static": (Fixed(), [["n"]], {"n": AUTO}, {"n": 4}, [[4]], {}),
    "auto beside declared": (
        Separate(),
        [["n"], ["m"]],
        {"n": NARROW, "m": AUTO},
        {"n": 4, "m": 5},
        [["n"], ["m"]],
        {"n": Dim(2, 9), "m": Dim(1, None)},
    ),
    "auto twice in one name": (
        Equal(),
        [["n"], ["n"]],
        {"n": AUTO},
        {"n": 4},
        [["n"], ["n"]],
        {"n": Dim(1, None)},
    ),
    "two that are equal": (
        Equal(),
        [["n"], ["m"]],
        {
            "n": schema.DeclaredDim(auto=True, max=9),
            "m": schema.DeclaredDim(auto=True, min=3, max=20),
        },
        {"n": 4, "m": 4},
        [["n"], ["n"]],
        {"n": Dim(3, 9)},
    ),
    "three that are equal": (
        Equal(),
        [["n"], ["m"], ["k"]],
        {"n": AUTO, "m": AUTO, "k": AUTO},
        {"n": 4, "m": 4, "k": 4},
        [["n"], ["n"], ["n"]],
        {"n": Dim(1, None)},
    ),
    "one that equals a declared one": (
        Equal(),
        [["n"], ["m"]],
        {"n": AUTO, "m": NARROW},
        {"n": 4, "m": 4},
        [["m"], ["m"]],
        {"m": Dim(2, 9)},
    ),
    "twice the other": (
        Twice(),
        [["n"], ["m"]],
        {"n": AUTO, "m": schema.DeclaredDim(auto=True, max=9)},
        {"n": 4, "m": 8},
        [["n"], [Affine("n", 2, 0)]],
        {"n": Dim(1, 4)},
    ),
    "one less than the other": (
        Shifted(),
        [["n"], ["m"]],
        {"n": schema.DeclaredDim(auto=True, min=3, max=9), "m": AUTO},
        {"n": 5, "m": 4},
        [[Affine("m", 1, 1)], ["m"]],
        {"m": Dim(2, 8)},
    ),
}


@pytest.mark.parametrize("case", READ.values(), ids=READ)
def test_what_became_of_the_declared_dimensions_is_read(case: Case) -> None:
    module, shapes, dims, sizes, found, ranges = case
    assert read(module, shapes, dims, **sizes) == (found, ranges)


def test_the_range_that_the_model_leaves_to_an_automatic_dimension_is_read() -> None:
    class Few(torch.nn.Module):
        def forward(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
            (first,) = tensors
            assert 3 <= first.shape[0] <= 17
            return first * 2

    assert read(Few(), [["n"]], {"n": AUTO}, n=5)[1] == {"n": Dim(3, 17)}


NAMED: dict[str, tuple[torch.nn.Module, Any, list[list[int]], Any, Any]] = {
    "named": (
        Separate(),
        [{0: B}, {0: B}],
        [[4, 3], [4]],
        [["batch", 3], ["batch"]],
        {"batch": Dim(1, 64)},
    ),
    "unnamed": (
        Separate(),
        [{0: TorchDim.AUTO}, None],
        [[4, 3], [4]],
        [["state_0_k_dim0", 3], [4]],
        {"state_0_k_dim0": Dim(1, None)},
    ),
    "derived with its dimension": (
        Separate(),
        [{0: 2 * B}, {0: B}],
        [[8], [4]],
        [[Affine("batch", 2, 0)], ["batch"]],
        {"batch": Dim(1, 64)},
    ),
    "derived alone": (
        Separate(),
        [{0: 2 * B + 1}, None],
        [[9], [4]],
        [[Affine("batch", 2, 1)], [4]],
        {"batch": Dim(1, 64)},
    ),
    "two alike": (
        Equal(),
        [{0: TorchDim.AUTO}, {0: TorchDim.AUTO}],
        [[4], [4]],
        [["state_0_k_dim0"], ["state_0_k_dim0"]],
        {"state_0_k_dim0": Dim(1, None)},
    ),
    "static": (Fixed(), [{0: TorchDim.AUTO}], [[4]], [[4]], {}),
}


@pytest.mark.parametrize("case", NAMED.values(), ids=NAMED)
def test_dimensions_without_a_declaration_are_named(
    case: tuple[torch.nn.Module, Any, list[list[int]], Any, Any],
) -> None:
    module, specs, sizes, shapes, dims = case
    labels = ['state[0]["k"]', "x"][: len(specs)]
    program = traced(module, {}, [list(shape) for shape in sizes], specs)
    found = name_dims(program, labels, dim_names(specs))
    assert found == (shapes, dims)
    assert all(name.isidentifier() for name in found[1])


def inputs_of(*shapes: list[Size]) -> list[Input]:
    return [Input(name, "float32", shape, [0]) for name, shape in zip("abc", shapes, strict=False)]


DIMENSIONS: dict[str, tuple[list[list[Size]], schema.DeclaredDim]] = {
    "plain": ([["n"]], schema.DeclaredDim(min=2, max=64)),
    "multiple": ([["n"]], schema.DeclaredDim(min=8, multiple_of=8)),
    "derived": ([[Affine("n", 2, 1)]], schema.DeclaredDim(min=2, max=64)),
    "derived and plain": ([[Affine("n", 2, 1)], ["n"]], schema.DeclaredDim(min=2, max=64)),
    "derived from a multiple": (
        [[Affine("n", 2, 1)], ["n"]],
        schema.DeclaredDim(min=4, multiple_of=4),
    ),
}


@pytest.mark.parametrize("case", DIMENSIONS.values(), ids=DIMENSIONS)
@pytest.mark.parametrize("saved", [False, True], ids=["traced", "loaded"])
def test_sizes_are_told_by_their_dimensions(
    tmp_path: Path, case: tuple[list[list[Size]], schema.DeclaredDim], *, saved: bool
) -> None:
    shapes, dim = case
    program = traced(Separate(), {"n": 16}, shapes, torch_dims(shapes, {"n": dim}))
    if saved:
        torch.export.save(program, tmp_path / "program.pt2")
        program = torch.export.load(tmp_path / "program.pt2")
    symbols, shape_env = dimension_symbols(program.graph, inputs_of(*shapes))
    assert shape_env is not None
    assert {symbol.dim for symbol in symbols.values()} == {"n"}
    for shape, value in zip(shapes, input_values(program.graph, len(shapes)), strict=True):
        text = named(value.shape[0].node.expr, symbols)
        for n in (8, 16, 24):
            assert eval(text, {"n": n}) == concrete(shape, {"n": n})[0]  # noqa: S307
    ranges = {"n": Dim(dim.min, dim.max, dim.multiple_of)}
    found = compiled_ranges(program.graph, inputs_of(*shapes), ranges, {"n": 16})
    assert found == Ranges(ranges, [])


Guard = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("size", "dim", "guard", "found", "conditions"),
    [
        ("n", Dim(8, 64, 8), lambda size: size < 40, Dim(8, 32, 8), []),
        ("n", Dim(8, 64, 8), lambda size: size > 8, Dim(8, 64, 8), []),
        ("n", Dim(8, 64, 8), lambda size: size >= 16, Dim(8, 64, 8), []),
        ("n", Dim(0, None, 8), lambda size: size <= 160, Dim(0, 160, 8), []),
        ("n", Dim(8, 64, 8), lambda size: size % 8 == 0, Dim(8, 64, 8), []),
        (Affine("n", 2, 1), Dim(1, 64), lambda size: size < 40, Dim(1, 19), []),
        (Affine("n", 2, 1), Dim(1, 64), lambda size: size > 10, Dim(5, 64), []),
        (Affine("n", 1, -1), Dim(1, None), lambda size: size > 10, Dim(12, None), []),
        (Affine("n", 2, 0), Dim(4, 64, 4), lambda size: size < 100, Dim(4, 48, 4), []),
    ],
)
def test_a_guard_on_a_size_narrows_the_dimension_behind_it(
    size: Size, dim: Dim, guard: Guard, found: Dim, conditions: list[str]
) -> None:
    declared = schema.DeclaredDim(min=dim.min, max=dim.max, multiple_of=dim.multiple_of)
    shapes = [[size]]
    program = traced(Separate(), {"n": 16}, shapes, torch_dims(shapes, {"n": declared}))
    (value,) = input_values(program.graph, 1)
    bool(guard(value.shape[0]))
    ranges = compiled_ranges(program.graph, inputs_of(*shapes), {"n": dim}, {"n": 16})
    assert (ranges.dims, ranges.conditions) == ({"n": found}, conditions)


@pytest.mark.parametrize(
    ("size", "dim", "guard"),
    [
        (Affine("n", 2, 1), Dim(1, 64), lambda size: (size - 1) % 4 == 0),
        ("n", Dim(8, 128, 8), lambda size: size % 16 == 0),
        (Affine("n", 1, 3), Dim(2, 64), lambda size: size == 19),
    ],
)
def test_a_condition_on_a_size_is_told_in_the_dimension_behind_it(
    size: Size, dim: Dim, guard: Guard
) -> None:
    declared = schema.DeclaredDim(min=dim.min, max=dim.max, multiple_of=dim.multiple_of)
    shapes = [[size]]
    program = traced(Separate(), {"n": 16}, shapes, torch_dims(shapes, {"n": declared}))
    (value,) = input_values(program.graph, 1)
    assert guard(value.shape[0])
    found = compiled_ranges(program.graph, inputs_of(*shapes), {"n": dim}, {"n": 16})
    accepted = [
        n
        for n in range(max(found.dims["n"].min, 2), (found.dims["n"].max or 0) + 1)
        if n % dim.multiple_of == 0 and all(eval(text, {"n": n}) for text in found.conditions)  # noqa: S307
    ]
    expected = [
        n
        for n in range(max(dim.min, 2), (dim.max or 0) + 1)
        if n % dim.multiple_of == 0 and guard(concrete([size], {"n": n})[0])
    ]
    # A symbol that is 1 is left to the step verify.
    assert [n for n in accepted if n > dim.multiple_of] == [
        n for n in expected if n > dim.multiple_of
    ]
