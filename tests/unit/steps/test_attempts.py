"""Which example sizes are tried where Inductor narrows a range, and which attempt is compiled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aotbuild.errors import CompileError
from aotbuild.runtime.dims import Dim
from aotbuild.runtime.manifest import Input
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.samples import input_bytes
from aotbuild.steps.compile.attempts import (
    Attempt,
    accepted,
    best_attempt,
    is_narrower,
    other_sizes,
)
from aotbuild.steps.compile.inductor import Compiled
from aotbuild.steps.sizes.ranges import Ranges

LIBRARY = Compiled(Path("x.so"), Path("x.cpp"), None, {}, {})


def called(
    dims: dict[str, Dim], example: dict[str, int], conditions: tuple[str, ...] = ()
) -> CallSpec:
    inputs = [Input(f"of_{name}", "float32", [name, 3], [0, 1]) for name in dims]
    return CallSpec(inputs, {}, {}, dims, list(conditions), example, [])


ROWS = called({"rows": Dim(1, 64)}, {"rows": 4})
TWO = called({"rows": Dim(1, 64), "cols": Dim(1, None)}, {"rows": 4, "cols": 5})

Accepts = Callable[[dict[str, int]], Ranges]


class Inductor:
    """Lowers for an example, and accepts what ``accepts`` says of its sizes."""

    def __init__(self, accepts: Accepts) -> None:
        self.accepts = accepts
        self.lowered: list[dict[str, int]] = []
        self.compiled: list[dict[str, int]] = []

    def __call__(self, sizes: dict[str, int], wanted: Callable[[Ranges], bool]) -> Attempt:
        self.lowered.append(sizes)
        found = self.accepts(sizes)
        if not wanted(found):
            return Attempt(sizes, found, None)
        self.compiled.append(sizes)
        return Attempt(sizes, found, LIBRARY)


def split(*ends: int, call: CallSpec = ROWS) -> Accepts:
    """Ranges of rows that end at each of these sizes: one has the example in it."""

    def accepts(sizes: dict[str, int]) -> Ranges:
        rows, declared = sizes["rows"], call.dims["rows"]
        low = max([declared.min, *(end + 1 for end in ends if end < rows)])
        highs = [end for end in ends if end >= rows] + [declared.max] * bool(declared.max)
        high = min((end for end in highs if end is not None), default=None)
        return Ranges({**call.dims, "rows": Dim(low, high)}, [])

    return accepts


def tried(
    accepts: Accepts, call: CallSpec = ROWS, fixed: tuple[str, ...] = (), *, strict: bool = False
) -> tuple[Attempt, Inductor]:
    inductor = Inductor(accepts)
    return best_attempt(call, inductor, fixed, strict=strict), inductor


@pytest.mark.parametrize("strict", [False, True])
def test_where_nothing_is_narrowed_the_example_is_compiled_at_once(*, strict: bool) -> None:
    best, inductor = tried(split(), strict=strict)
    assert best == Attempt(ROWS.example, Ranges(ROWS.dims, []), LIBRARY)
    assert inductor.lowered == inductor.compiled == [ROWS.example]


def test_the_widest_of_three_is_compiled_and_nothing_else() -> None:
    best, inductor = tried(split(15, 60))
    assert best.ranges.dims == {"rows": Dim(16, 60)}
    assert best.sizes == {"rows": 40}
    assert inductor.lowered == [{"rows": 4}, {"rows": 40}, {"rows": 64}, {"rows": 40}]
    assert inductor.compiled == [{"rows": 40}]


def test_of_equally_wide_ones_the_first_is_kept() -> None:
    best, inductor = tried(split(32))
    assert best.ranges.dims == {"rows": Dim(1, 32)}
    assert inductor.compiled == [ROWS.example]


def test_an_example_that_narrows_nothing_ends_the_search() -> None:
    def accepts(sizes: dict[str, int]) -> Ranges:
        return Ranges(ROWS.dims if sizes["rows"] > 30 else {"rows": Dim(1, 30)}, [])

    best, inductor = tried(accepts)
    assert best.ranges.dims == ROWS.dims
    assert len(inductor.lowered) == 2
    assert inductor.compiled == [best.sizes]


@pytest.mark.parametrize("condition", ["rows % 4 == 0", "rows != 4"])
def test_a_condition_counts_as_narrower(condition: str) -> None:
    def accepts(sizes: dict[str, int]) -> Ranges:
        return Ranges(ROWS.dims, [condition] if sizes["rows"] == 4 else [])

    best, inductor = tried(accepts)
    assert best.ranges == Ranges(ROWS.dims, [])
    assert len(inductor.lowered) == 2


def test_a_condition_of_the_program_itself_narrows_nothing() -> None:
    call = called({"rows": Dim(1, 64)}, {"rows": 4}, ("rows % 4 == 0",))
    _, inductor = tried(lambda _: Ranges(call.dims, ["rows % 4 == 0"]), call)
    assert inductor.lowered == inductor.compiled == [call.example]


def test_strict_compiles_nothing_that_is_narrower() -> None:
    best, inductor = tried(split(15), strict=True)
    assert (best.ranges.dims, best.compiled) == ({"rows": Dim(16, 64)}, None)
    assert inductor.compiled == []


def test_an_attempt_that_fails_is_passed_over() -> None:
    def accepts(sizes: dict[str, int]) -> Ranges:
        if sizes["rows"] == 40:
            raise CompileError("AOTInductor cannot compile the model")
        return split(15)(sizes)

    best, inductor = tried(accepts)
    assert best.sizes == {"rows": 64}
    assert inductor.compiled == [best.sizes]


def test_a_failure_with_the_example_is_told() -> None:
    def accepts(_: dict[str, int]) -> Ranges:
        raise CompileError("AOTInductor cannot compile the model")

    with pytest.raises(CompileError):
        tried(accepts)


def test_a_declared_example_is_the_only_one() -> None:
    best, inductor = tried(split(15), fixed=("rows",))
    assert best.ranges.dims == {"rows": Dim(1, 15)}
    assert inductor.lowered == inductor.compiled == [ROWS.example]


def test_the_choice_is_the_same_each_time() -> None:
    def accepts(sizes: dict[str, int]) -> Ranges:
        return Ranges(TWO.dims, [f"(rows*cols) % {sizes['rows']} < 3"])

    first, second = tried(accepts, TWO), tried(accepts, TWO)
    assert first[0] == second[0]
    assert first[1].lowered == second[1].lowered


@pytest.mark.parametrize(
    ("found", "sizes"),
    [
        (Dim(1, 15), [40, 64]),  # the middle of 16 to 64, and its end
        (Dim(33, 34), [17, 2]),  # 1 to 32 is larger than 35 to 64; an example has 2 at least
        (Dim(20, 64), [10, 2]),
        (Dim(1, 63), [64]),
        (Dim(1, 64), []),
    ],
)
def test_other_sizes_are_in_the_part_that_was_cut_off(found: Dim, sizes: list[int]) -> None:
    others = other_sizes(ROWS, Ranges({"rows": found}, []), ())
    assert others == [{"rows": size} for size in sizes]


def test_only_what_is_narrowed_or_in_a_condition_has_another_size() -> None:
    dims = dict(TWO.dims)
    assert other_sizes(TWO, Ranges({**dims, "rows": Dim(1, 15)}, []), ()) == [
        {"rows": 40, "cols": 5},
        {"rows": 64, "cols": 5},
    ]
    assert other_sizes(TWO, Ranges(dims, ["cols % 5 == 0"]), ()) == [
        {"rows": 4, "cols": 20},
        {"rows": 4, "cols": 40},
    ]
    both = other_sizes(TWO, Ranges(dims, ["rows < cols"]), ())
    assert [set(sizes.values()).isdisjoint({4, 5}) for sizes in both] == [True, True]
    assert other_sizes(TWO, Ranges(dims, ["rows < cols"]), ("rows",))[0]["rows"] == 4


def test_without_an_upper_limit_a_size_beyond_the_end_is_tried() -> None:
    call = called({"rows": Dim(1, None)}, {"rows": 4})
    best, _ = tried(split(28, call=call), call)
    assert best.ranges.dims == {"rows": Dim(29, None)}


def test_other_sizes_are_multiples_and_differ_from_one_another() -> None:
    dims = {"rows": Dim(8, 64, 8), "cols": Dim(8, 64, 8)}
    call = called(dims, {"rows": 16, "cols": 24})
    found = Ranges({"rows": Dim(8, 24, 8), "cols": Dim(8, 24, 8)}, [])
    for sizes in other_sizes(call, found, ()):
        assert sizes["rows"] != sizes["cols"]
        assert all(size % 8 == 0 and 16 <= size <= 64 for size in sizes.values())


def test_other_sizes_fulfil_the_conditions_of_the_program() -> None:
    call = called({"rows": Dim(1, 64)}, {"rows": 4}, ("rows != 64",))
    others = other_sizes(call, Ranges({"rows": Dim(1, 15)}, ["rows != 64"]), ())
    assert others == [{"rows": 40}]


def test_other_sizes_take_a_bounded_amount_of_memory() -> None:
    call = called({"rows": Dim(1, 1 << 40)}, {"rows": 4})
    others = other_sizes(call, Ranges({"rows": Dim(1, 15)}, []), ())
    assert others
    for sizes in others:
        assert sizes["rows"] > 15
        assert input_bytes(call.inputs, sizes) <= 1 << 28


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (Ranges({"rows": Dim(1, 15)}, []), Ranges({"rows": Dim(16, 64)}, [])),
        (Ranges({"rows": Dim(1, 1 << 20)}, []), Ranges({"rows": Dim(29, None)}, [])),
        (Ranges({"rows": Dim(29, None)}, []), Ranges({"rows": Dim(1, None)}, [])),
        (Ranges({"rows": Dim(1, 64)}, ["rows % 4 == 0"]), Ranges({"rows": Dim(1, 32)}, [])),
        (Ranges({"rows": Dim(1, 15)}, []), Ranges({"rows": Dim(1, 64)}, ["rows != 4"])),
    ],
)
def test_what_accepts_more_combinations_of_sizes_is_wider(less: Ranges, more: Ranges) -> None:
    assert accepted(less) < accepted(more)


@pytest.mark.parametrize(
    ("found", "narrower"),
    [
        (Ranges({"rows": Dim(1, 64)}, []), False),
        (Ranges({"rows": Dim(2, 64)}, []), True),
        (Ranges({"rows": Dim(1, 64)}, ["rows != 9"]), True),
    ],
)
def test_narrower_is_what_accepts_less_than_the_program(found: Ranges, *, narrower: bool) -> None:
    assert is_narrower(found, ROWS) == narrower
