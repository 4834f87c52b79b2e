"""Inputs as trees: tensors and constants in arrays and tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from aotbuild.config.inputs import map_tensors, tensor_leaves
from aotbuild.config.parse import parse_table
from aotbuild.config.schema import ConstantInput, Model
from aotbuild.errors import ConfigError
from aotbuild.steps.artifacts.samples import Leaf
from aotbuild.steps.artifacts.spec import as_table

TENSOR = {"shape": ["batch", 3]}


def parse(inputs: dict[str, Any]) -> Model:
    return parse_table(Model, {"source": "a:B", "inputs": inputs}, "tool.aotbuild.models.net")


def test_arrays_and_tables_nest() -> None:
    model = parse({"state": [TENSOR, {"k": TENSOR, "v": [TENSOR]}], "x": TENSOR})
    labels = [
        label for name, tree in model.inputs.items() for label, _ in tensor_leaves(tree, name)
    ]
    assert labels == ["state[0]", 'state[1]["k"]', 'state[1]["v"][0]', "x"]
    value = map_tensors(model.inputs["state"], lambda spec: spec.shape)
    assert value == (["batch", 3], {"k": ["batch", 3], "v": (["batch", 3],)})


@pytest.mark.parametrize("value", [True, False, 3, -1, 1.5, "mode"])
def test_constants_keep_their_value_and_type(value: Any) -> None:
    model = parse({"flag": {"value": value}, "x": TENSOR})
    constant = model.inputs["flag"]
    assert isinstance(constant, ConstantInput)
    assert constant.value == value
    assert type(constant.value) is type(value)
    assert map_tensors(constant, lambda _: None) == value


def test_none_is_a_constant() -> None:
    assert map_tensors(parse({"mask": {"none": True}}).inputs["mask"], lambda _: 1) is None


def test_a_table_of_inputs_may_have_any_names() -> None:
    tree = parse({"batch": {"user id": TENSOR, "min": TENSOR}}).inputs["batch"]
    assert [label for label, _ in tensor_leaves(tree, "b")] == ['b["user id"]', 'b["min"]']


@pytest.mark.parametrize("key", ["shape", "value", "none"])
def test_a_telling_key_is_a_name_where_it_holds_a_table(key: str) -> None:
    tree = parse({"cache": {"key": TENSOR, key: TENSOR}}).inputs["cache"]
    assert [label for label, _ in tensor_leaves(tree, "c")] == ['c["key"]', f'c["{key}"]']


def test_a_tree_survives_the_specification_file() -> None:
    model = parse({"state": [TENSOR, {"k": {"none": True}}], "flag": {"value": False}})
    again = parse_table(Model, as_table(model), "spec")
    assert again == model


@pytest.mark.parametrize(
    ("inputs", "path", "said"),
    [
        ({"x": 3}, "inputs.x", "expected a table"),
        ({"x": [TENSOR, "float32"]}, "inputs.x[1]", "expected a table"),
        ({"x": {"shpe": [1]}}, "inputs.x.shpe", 'did you mean "shape"?'),
        ({"x": {"value": 1, "none": True}}, "inputs.x", "either a value or none = true"),
        ({"x": {"none": False}}, "inputs.x", "either a value or none = true"),
        ({"x": {"value": [1]}}, "inputs.x.value", "expected"),
        ({"x": {"value": 1, "dtype": "int64"}}, "inputs.x.dtype", "unknown key"),
        ({"x": {}}, "inputs.x", '"shape" is missing'),
        ({"x": {"k": TENSOR, "v": {"shape": 3}}}, "inputs.x.v.shape", "expected an array"),
        ({"x": {**TENSOR, "values": "normall"}}, "inputs.x.values", 'did you mean "normal"?'),
        ({"x": {**TENSOR, "max": "9"}}, "inputs.x.max", "is not a size"),
    ],
)
def test_a_wrong_tree_is_told_with_its_place(inputs: dict[str, Any], path: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(inputs)
    assert caught.value.where == f"pyproject.toml: tool.aotbuild.models.net.{path}"
    assert said in caught.value.block()


def drawn(**spec: Any) -> torch.Tensor:
    leaf = Leaf(**{"dtype": "float32", **spec})
    return leaf.sample([4000], torch.Generator().manual_seed(0))


def test_integers_stay_in_the_declared_range() -> None:
    values = drawn(dtype="int64", min=5, max=9)
    assert (int(values.min()), int(values.max())) == (5, 9)


def test_floats_with_bounds_are_uniform_between_them() -> None:
    values = drawn(min=-1.0, max=3.0)
    assert -1 <= float(values.min()) < -0.9
    assert 2.9 < float(values.max()) <= 3
    assert abs(float(values.mean()) - 1) < 0.1


def test_floats_can_be_whole_numbers_or_bounded_normal() -> None:
    assert set(drawn(values="integers", max=3).tolist()) == {0.0, 1.0, 2.0, 3.0}
    clamped = drawn(values="normal", min=-1.0, max=1.0)
    assert float(clamped.abs().max()) == 1.0


def test_floats_are_normal_by_default() -> None:
    values = drawn()
    assert abs(float(values.mean())) < 0.1
    assert abs(float(values.std()) - 1) < 0.1
