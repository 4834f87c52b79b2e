"""Example inputs: sizes to trace with, sizes to verify, and tensors that are always the same."""

from __future__ import annotations

import pytest
import torch
from aotbuild.build.examples import example_inputs, example_sizes, input_bytes, verification_sizes

from aotbuild.config.schema import DTYPES, Dim, Model, TensorInput

CPU = torch.device("cpu")

DIMS = {
    "none": {},
    "default": {"a": Dim()},
    "narrow": {"a": Dim(min=1, max=2)},
    "from 0": {"a": Dim(min=0, max=2)},
    "three alike": {name: Dim(min=1, max=64) for name in "abc"},
    "just room enough": {name: Dim(min=1, max=4) for name in "abc"},
    "unlimited": {name: Dim(min=1) for name in "abcdef"},
    "high": {"a": Dim(min=1000, max=1001), "b": Dim(min=1000, max=1001)},
    "high and unlimited": {"a": Dim(min=1000), "b": Dim(min=1000)},
    "given": {"a": Dim(min=1, max=64, example=32), "b": Dim(min=1)},
    "given what another would take": {"a": Dim(min=1, max=64), "b": Dim(min=1, example=4)},
    "one inside another": {"a": Dim(min=1, max=512), "b": Dim(min=4, max=5), "c": Dim(min=5)},
}


@pytest.mark.parametrize("dims", DIMS.values(), ids=DIMS)
def test_example_sizes_are_inside_their_ranges_traceable_and_distinct(dims: dict[str, Dim]) -> None:
    sizes = example_sizes(dims)
    assert set(sizes) == set(dims)
    for name, dim in dims.items():
        assert sizes[name] >= max(2, dim.min)
        assert dim.max is None or sizes[name] <= dim.max
        assert dim.example is None or sizes[name] == dim.example
    assert len(set(sizes.values())) == len(sizes)


def test_an_example_size_is_no_end_of_its_range_when_there_is_room() -> None:
    assert example_sizes({"a": Dim(min=8, max=64)})["a"] not in {8, 64}


def test_sizes_are_equal_only_where_they_have_to_be() -> None:
    assert example_sizes({"a": Dim(min=1, max=2), "b": Dim(min=1, max=2)}) == {"a": 2, "b": 2}


def test_example_sizes_are_the_same_each_time() -> None:
    dims = {name: Dim(min=1, max=9) for name in "abcdef"}
    assert example_sizes(dims) == example_sizes(dict(dims))


@pytest.mark.parametrize(
    ("ranges", "example", "expected"),
    [
        ({}, {}, [{}]),
        ({"a": Dim(min=1, max=64)}, {"a": 4}, [{"a": 4}, {"a": 1}, {"a": 64}]),
        ({"a": Dim(min=0, max=64)}, {"a": 4}, [{"a": 4}, {"a": 0}, {"a": 1}, {"a": 64}]),
        ({"a": Dim(min=2, max=3)}, {"a": 2}, [{"a": 2}, {"a": 3}]),
        (
            {"a": Dim(min=1, max=8), "b": Dim(min=2, max=9)},
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
    ranges: dict[str, Dim], example: dict[str, int], expected: list[dict[str, int]]
) -> None:
    assert list(verification_sizes(ranges, example).values()) == expected


def test_a_dimension_without_a_limit_is_verified_far_from_its_example() -> None:
    sizes = [case["a"] for case in verification_sizes({"a": Dim(min=1)}, {"a": 4}).values()]
    assert sizes[:2] == [4, 1]
    assert max(sizes) > 4 * 4


def test_a_case_is_named_after_what_is_special_in_it() -> None:
    cases = verification_sizes({"a": Dim(min=1, max=8), "b": Dim(min=2)}, {"a": 4, "b": 5})
    assert list(cases)[:4] == ["the example", "a = 1, b = 2", "a = 1", "a = 8"]


def model(dtype: str) -> Model:
    return Model(
        source="m:N",
        inputs={
            "x": TensorInput(shape=["n", 8, "m"], dtype=dtype),
            "y": TensorInput(shape=[], dtype=dtype),
        },
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_example_inputs_have_the_declared_dtype_and_shape(dtype: str) -> None:
    inputs = example_inputs(model(dtype), {"n": 3, "m": 5}, CPU)
    assert {name: tuple(tensor.shape) for name, tensor in inputs.items()} == {
        "x": (3, 8, 5),
        "y": (),
    }
    assert all(tensor.dtype is getattr(torch, dtype) for tensor in inputs.values())
    assert len(set(inputs["x"].flatten().tolist())) > 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_example_inputs_are_the_same_each_time(dtype: str) -> None:
    torch.manual_seed(1)
    first = example_inputs(model(dtype), {"n": 3, "m": 5}, CPU)
    torch.manual_seed(2)
    second = example_inputs(model(dtype), {"n": 3, "m": 5}, CPU)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_example_inputs_leave_the_users_random_numbers_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    example_inputs(model("float32"), {"n": 3, "m": 5}, CPU)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_integers_are_indices_of_every_table(dtype: str) -> None:
    values = example_inputs(model(dtype), {"n": 3, "m": 5}, CPU)["x"].flatten().tolist()
    assert set(values) == {0, 1}


def test_an_empty_size_makes_an_empty_tensor() -> None:
    assert example_inputs(model("float32"), {"n": 0, "m": 5}, CPU)["x"].shape == (0, 8, 5)


@pytest.mark.parametrize(("dtype", "width"), [("bool", 1), ("float32", 4), ("complex128", 16)])
def test_input_bytes_counts_every_element(dtype: str, width: int) -> None:
    assert input_bytes(model(dtype), {"n": 3, "m": 5}) == (3 * 8 * 5 + 1) * width
