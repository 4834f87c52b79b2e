"""Example inputs: sizes to trace with, sizes to verify, and tensors that are always the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aotbuild.config.schema import DTYPES, DeclaredDim
from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Input
from aotbuild.steps.artifacts.samples import (
    Leaf,
    Samples,
    example_sizes,
    from_largest,
    input_bytes,
    verification_sizes,
)

CPU = torch.device("cpu")
Range = Dim

DIMS = {
    "none": {},
    "default": {"a": DeclaredDim()},
    "narrow": {"a": DeclaredDim(min=1, max=2)},
    "from 0": {"a": DeclaredDim(min=0, max=2)},
    "three alike": {name: DeclaredDim(min=1, max=64) for name in "abc"},
    "just room enough": {name: DeclaredDim(min=1, max=4) for name in "abc"},
    "unlimited": {name: DeclaredDim(min=1) for name in "abcdef"},
    "high": {"a": DeclaredDim(min=1000, max=1001), "b": DeclaredDim(min=1000, max=1001)},
    "high and unlimited": {"a": DeclaredDim(min=1000), "b": DeclaredDim(min=1000)},
    "given": {"a": DeclaredDim(min=1, max=64, example=32), "b": DeclaredDim(min=1)},
    "given what another would take": {
        "a": DeclaredDim(min=1, max=64),
        "b": DeclaredDim(min=1, example=4),
    },
    "multiples": {
        "a": DeclaredDim(min=8, max=64, multiple_of=8),
        "b": DeclaredDim(min=3, multiple_of=3),
    },
    "multiples from 0": {
        "a": DeclaredDim(min=0, max=64, multiple_of=8),
        "b": DeclaredDim(min=0, multiple_of=4),
    },
    "few multiples": {name: DeclaredDim(min=8, max=24, multiple_of=8) for name in "ab"},
    "a given multiple": {
        "a": DeclaredDim(min=4, multiple_of=4, example=8),
        "b": DeclaredDim(min=4, multiple_of=4),
    },
    "one inside another": {
        "a": DeclaredDim(min=1, max=512),
        "b": DeclaredDim(min=4, max=5),
        "c": DeclaredDim(min=5),
    },
}


@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
def test_example_sizes_are_inside_their_ranges_traceable_and_distinct(
    dims: dict[str, DeclaredDim],
) -> None:
    sizes = example_sizes(dims, {})
    assert set(sizes) == set(dims)
    for name, dim in dims.items():
        # To torch, a multiple is a number times a size, which must be 2 at least.
        assert sizes[name] >= max(2 * dim.multiple_of, dim.min)
        assert sizes[name] % dim.multiple_of == 0
        assert dim.max is None or sizes[name] <= dim.max
        assert dim.example is None or sizes[name] == dim.example
    assert len(set(sizes.values())) == len(sizes)


def test_sizes_of_the_projects_data_are_taken_and_avoided() -> None:
    dims = {
        "a": DeclaredDim(min=1, max=64),
        "b": DeclaredDim(min=1, max=64),
        "c": DeclaredDim(min=1, example=9),
    }
    sizes = example_sizes(dims, {"a": 4, "c": 7})
    assert (sizes["a"], sizes["c"]) == (4, 7)
    assert sizes["b"] not in {4, 7}


def test_an_example_size_is_no_end_of_its_range_when_there_is_room() -> None:
    assert example_sizes({"a": DeclaredDim(min=8, max=64)}, {})["a"] not in {8, 64}


def test_sizes_are_equal_only_where_they_have_to_be() -> None:
    assert example_sizes({"a": DeclaredDim(min=1, max=2), "b": DeclaredDim(min=1, max=2)}, {}) == {
        "a": 2,
        "b": 2,
    }


def test_example_sizes_are_the_same_each_time() -> None:
    dims = {name: DeclaredDim(min=1, max=9) for name in "abcdef"}
    assert example_sizes(dims, {}) == example_sizes(dict(dims), {})


@pytest.mark.parametrize(
    ("ranges", "example", "expected"),
    [
        ({}, {}, [{}]),
        ({"a": Range(1, 64)}, {"a": 4}, [{"a": 4}, {"a": 1}, {"a": 64}]),
        ({"a": Range(0, 64)}, {"a": 4}, [{"a": 4}, {"a": 0}, {"a": 1}, {"a": 64}]),
        ({"a": Range(2, 3)}, {"a": 2}, [{"a": 2}, {"a": 3}]),
        ({"a": Range(8, 64, 8)}, {"a": 24}, [{"a": 24}, {"a": 8}, {"a": 64}]),
        ({"a": Range(0, 64, 8)}, {"a": 16}, [{"a": 16}, {"a": 0}, {"a": 8}, {"a": 64}]),
        (
            {"a": Range(1, 8), "b": Range(2, 9)},
            {"a": 4, "b": 5},
            [
                {"a": 4, "b": 5},
                {"a": 1, "b": 2},
                {"a": 1, "b": 5},
                {"a": 8, "b": 5},
                {"a": 4, "b": 2},
                {"a": 4, "b": 9},
            ],
        ),
    ],
)
def test_the_example_and_both_ends_of_each_dimension_are_verified(
    ranges: dict[str, Range], example: dict[str, int], expected: list[dict[str, int]]
) -> None:
    assert list(verification_sizes(ranges, example).values()) == expected


def test_a_dimension_without_a_limit_is_verified_far_from_its_example() -> None:
    sizes = [case["a"] for case in verification_sizes({"a": Range(1, None)}, {"a": 4}).values()]
    assert sizes[:2] == [4, 1]
    assert max(sizes) > 4 * 4


def test_a_multiple_without_a_limit_is_verified_at_a_multiple_far_away() -> None:
    cases = verification_sizes({"a": Range(8, None, 8)}, {"a": 24})
    sizes = [case["a"] for case in cases.values()]
    assert max(sizes) > 4 * 24
    assert all(size % 8 == 0 for size in sizes)


def test_a_case_is_named_after_what_is_special_in_it() -> None:
    cases = verification_sizes({"a": Range(1, 8), "b": Range(2, None)}, {"a": 4, "b": 5})
    assert list(cases)[:4] == ["the example", "a = 1, b = 2", "a = 1", "a = 8"]


INPUTS: list[tuple[str, list[int | str]]] = [("x", ["n", 8, "m"]), ("y", [])]


def inputs_of(dtype: str) -> list[Input]:
    return [Input(name, dtype, list(shape), []) for name, shape in INPUTS]


def drawn(dtype: str, n: int = 3, m: int = 5) -> list[torch.Tensor]:
    """What is drawn for two inputs without data of their own."""
    samples = Samples([Leaf(dtype), Leaf(dtype)])
    return samples.at(inputs_of(dtype), {"n": n, "m": m}, CPU)


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_have_the_declared_dtype_and_shape(dtype: str) -> None:
    tensors = drawn(dtype)
    assert [tuple(tensor.shape) for tensor in tensors] == [(3, 8, 5), ()]
    assert all(tensor.dtype is getattr(torch, dtype) for tensor in tensors)
    assert len(set(tensors[0].flatten().tolist())) > 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_are_the_same_each_time(dtype: str) -> None:
    torch.manual_seed(1)
    first = drawn(dtype)
    torch.manual_seed(2)
    second = drawn(dtype)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_samples_leave_the_users_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    drawn("float32")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_integers_are_indices_of_every_table(dtype: str) -> None:
    assert set(drawn(dtype)[0].flatten().tolist()) == {0, 1}


def test_an_empty_size_makes_an_empty_tensor() -> None:
    assert drawn("float32", n=0)[0].shape == (0, 8, 5)


@pytest.mark.parametrize(("dtype", "width"), [("bool", 1), ("float32", 4), ("complex128", 16)])
def test_input_bytes_counts_every_element(dtype: str, width: int) -> None:
    assert input_bytes(inputs_of(dtype), {"n": 3, "m": 5}) == (3 * 8 * 5 + 1) * width


def test_input_bytes_counts_derived_sizes() -> None:
    spec = Input("x", "float32", [Affine("n", 2, 1), 4], [])
    assert input_bytes([spec], {"n": 3}) == 7 * 4 * 4


def sampled(leaf: Leaf, *shape: int) -> torch.Tensor:
    (tensor,) = Samples([leaf]).drawn([shape], CPU)
    return tensor


DATA = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 3), [[0, 1, 2], [3, 4, 5]]),
        ((1, 3), [[0, 1, 2]]),
        ((2, 1), [[0], [3]]),
        ((3, 3), [[0, 1, 2], [3, 4, 5], [0, 1, 2]]),
        ((2, 5), [[0, 1, 2, 0, 1], [3, 4, 5, 3, 4]]),
        ((5, 2), [[0, 1], [3, 4], [0, 1], [3, 4], [0, 1]]),
        ((0, 3), []),
    ],
)
def test_data_of_the_project_is_cut_or_repeated(
    shape: tuple[int, ...], expected: list[list[int]]
) -> None:
    found = sampled(Leaf("float32", DATA), *shape)
    assert found.shape == shape
    assert found.tolist() == expected


def test_data_of_the_project_is_not_drawn_over() -> None:
    assert sampled(Leaf("int64", torch.tensor([7, 9]), min=0, max=1), 2).tolist() == [7, 9]


def test_data_of_the_project_takes_no_random_numbers_from_the_others() -> None:
    drawn_alone = Samples([Leaf("float32")]).drawn([[4]], CPU)[0]
    beside = Samples([Leaf("float32", DATA), Leaf("float32")]).drawn([[2, 3], [4]], CPU)[1]
    assert torch.equal(drawn_alone, beside)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats_are_drawn_inside_their_bounds(dtype: str) -> None:
    values = sampled(Leaf(dtype, min=-2.0, max=2.0), 1000)
    assert values.dtype is getattr(torch, dtype)
    assert float(values.min()) < -1.5 < 1.5 < float(values.max())


def test_the_smallest_value_alone_moves_the_range() -> None:
    assert set(sampled(Leaf("int64", min=7), 100).tolist()) == {7, 8}
    values = sampled(Leaf("float32", min=7.0), 1000)
    assert (float(values.min()) >= 7, float(values.max()) <= 8) == (True, True)


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    leaves = [Leaf("float32", DATA), Leaf("int64", None, 2.0, 9.0, "integers"), Leaf("bool")]
    Samples(leaves).write(tmp_path)
    shapes = [[3, 3], [50], [4]]
    written = Samples(leaves).drawn(shapes, CPU)
    read = Samples.read(tmp_path).drawn(shapes, CPU)
    assert all(torch.equal(*pair) for pair in zip(written, read, strict=True))


def test_samples_follow_the_sizes_of_their_dimensions() -> None:
    spec = Input("x", "float32", [Affine("n", 2, 1), "n", 4], [])
    assert Samples([Leaf("float32")]).at([spec], {"n": 3}, CPU)[0].shape == (7, 3, 4)


def test_sizes_from_the_largest_to_the_example() -> None:
    ranges = {"a": Range(1, 64), "b": Range(8, None, 8)}
    found = list(from_largest(ranges, {"a": 4, "b": 8}, []))
    assert found[0] == {"a": 64, "b": 32}
    assert found[1] == {"a": 34, "b": 16}
    assert found[-1] == {"a": 5, "b": 8}
    assert all(sizes["b"] % 8 == 0 for sizes in found)
    assert list(from_largest({"a": Range(1, 4)}, {"a": 4}, [])) == []


def test_sizes_whose_inputs_would_be_too_large_are_left_out() -> None:
    inputs = [Input("x", "float32", ["a", (1 << 20) + 1], [])]
    found = [sizes["a"] for sizes in from_largest({"a": Range(1, 1000)}, {"a": 2}, inputs)]
    assert found == [33, 17, 9, 5, 3]


def test_bounds_may_follow_from_sizes() -> None:
    leaf = Leaf("int64", max="atoms-1")
    inputs = [Input("i", "int64", [200], [0])]
    for atoms in (1, 2, 7):
        (drawn,) = Samples([leaf]).at(inputs, {"atoms": atoms}, CPU)
        assert (int(drawn.min()), int(drawn.max())) == (0, atoms - 1)


def test_data_stays_inside_of_bounds_that_are_sizes() -> None:
    inputs = [Input("i", "int64", [4], [0])]
    data = torch.tensor([0, 3, 6, 5])
    (cut,) = Samples([Leaf("int64", data, max="atoms-1")]).at(inputs, {"atoms": 4}, CPU)
    assert cut.tolist() == [0, 3, 3, 3]
    (numbers,) = Samples([Leaf("int64", data, max=4)]).at(inputs, {}, CPU)
    assert numbers.tolist() == [0, 3, 6, 5]  # of which the project knows that they are right
