"""The example call: drawn from the declaration, read from a file, or made by the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from aotbuild.config.schema import Call, ConstantInput, DeclaredDim, TensorInput
from aotbuild.errors import AotBuildError, ConfigError, ExportError, SourceError, WeightsError
from aotbuild.runtime.dims import Affine
from aotbuild.steps.export.arguments import as_call
from aotbuild.steps.export.example import Example, example_call
from aotbuild.steps.project_code import importing

CPU = torch.device("cpu")
PATH = "tool.aotbuild.models.net"
WHERE = f"pyproject.toml: {PATH}.example"
IMAGE = TensorInput(shape=["batch", 3])
DIMS = {"batch": DeclaredDim(min=1, max=64)}


def forward(image: Any, state: Any = None, *, mask: Any = None) -> None: ...


def made(project: Path, *, dtype: str | None = None, **call: Any) -> Example:
    with importing([str(project)], "demo.models"):
        return example_call(forward, Call(**call), PATH, project, dtype, CPU)


def refused(kind: type[AotBuildError], project: Path, **call: Any) -> AotBuildError:
    with pytest.raises(AotBuildError) as caught:
        made(project, **call)
    assert type(caught.value) is kind
    assert caught.value.where.startswith(f"pyproject.toml: {PATH}.")
    assert caught.value.fix
    return caught.value


def test_without_data_the_tensors_are_drawn(tmp_path: Path) -> None:
    example = made(
        tmp_path,
        inputs={"image": IMAGE, "mask": TensorInput(shape=["2*batch+1"], dtype="bool")},
        dims={"batch": DeclaredDim(min=1, max=64, example=5)},
    )
    assert example.labels == ["image", "mask"]
    assert [tuple(tensor.shape) for tensor in example.tensors] == [(5, 3), (11,)]
    assert [tensor.dtype for tensor in example.tensors] == [torch.float32, torch.bool]
    assert example.shapes == [["batch", 3], [Affine("batch", 2, 1)]]
    assert example.sizes == {"batch": 5}
    assert as_call(example.arguments)[1].keys() == {"image", "mask"}


def test_tensors_are_in_the_order_of_the_parameters_not_of_the_declaration(tmp_path: Path) -> None:
    state = [TensorInput(shape=[2]), {"k": TensorInput(shape=[4]), "flag": ConstantInput(value=3)}]
    example = made(tmp_path, inputs={"state": state, "image": IMAGE}, dims=DIMS)
    assert example.labels == ["image", "state[0]", 'state[1]["k"]']
    assert [tensor.ndim for tensor in example.tensors] == [2, 1, 1]
    assert [tuple(tensor.shape) for tensor in example.tensors[1:]] == [(2,), (4,)]
    assert example.arguments[1].value[1]["flag"] == 3


def test_the_samples_give_the_same_tensors_again(tmp_path: Path) -> None:
    inputs = {"image": IMAGE, "state": TensorInput(shape=["batch"], dtype="int64", max=9)}
    example = made(tmp_path, inputs=inputs, dims=DIMS)
    shapes = [tuple(tensor.shape) for tensor in example.tensors]
    again = example.samples.drawn(shapes, CPU)
    assert all(torch.equal(*pair) for pair in zip(example.tensors, again, strict=True))


@pytest.mark.parametrize(
    ("declared", "found"),
    [(None, torch.bfloat16), ("float32", torch.bfloat16), ("int64", torch.int64)],
)
def test_floats_have_the_dtype_of_the_model(
    tmp_path: Path, declared: str | None, found: torch.dtype
) -> None:
    inputs = {"image": TensorInput(shape=[2], dtype=declared)}
    assert made(tmp_path, dtype="bfloat16", inputs=inputs).tensors[0].dtype is found


DATA: dict[str, torch.Tensor] = {
    "image": torch.arange(12.0).reshape(4, 3),
    "state.0.k": torch.tensor([7, 8]),
}
INPUTS = {"image": IMAGE, "state": [{"k": TensorInput(shape=[2], dtype="int64")}]}


@pytest.fixture(params=["data.safetensors", "data.npz"])
def file(request: pytest.FixtureRequest) -> str:
    """The name of a file of either kind."""
    name: str = request.param
    return name


def write(project: Path, name: str, data: dict[str, torch.Tensor]) -> None:
    if name.endswith(".npz"):
        np.savez(project / name, **{key: tensor.numpy() for key, tensor in data.items()})  # type: ignore[arg-type]
    else:
        save_file(data, project / name)


def test_data_is_read_from_a_file(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, DATA)
    example = made(tmp_path, inputs=INPUTS, dims=DIMS, example=file)
    assert all(torch.equal(*pair) for pair in zip(example.tensors, DATA.values(), strict=True))
    assert example.sizes == {"batch": 4}


def test_nested_data_may_be_named_as_python_picks_it(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, {"image": DATA["image"], 'state[0]["k"]': DATA["state.0.k"]})
    example = made(tmp_path, inputs=INPUTS, dims=DIMS, example=file)
    assert example.tensors[1].tolist() == [7, 8]


def test_what_a_file_does_not_hold_is_drawn(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, {"image": DATA["image"]})
    inputs = {"image": IMAGE, "mask": TensorInput(shape=["2*batch"], dtype="bool")}
    example = made(tmp_path, inputs=inputs, dims=DIMS, example=file)
    assert torch.equal(example.tensors[0], DATA["image"])
    assert example.tensors[1].shape == (8,)


def test_a_file_alone_says_what_the_model_takes(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, {"mask": torch.tensor([True]), "image": DATA["image"]})
    example = made(tmp_path, example=file)
    assert example.labels == ["image", "mask"]
    assert example.shapes == [[4, 3], [1]]
    assert example.sizes == {}


def test_data_is_cast_to_the_dtype_of_the_model(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, DATA)
    example = made(tmp_path, dtype="float16", inputs=INPUTS, dims=DIMS, example=file)
    assert [tensor.dtype for tensor in example.tensors] == [torch.float16, torch.int64]


def test_derived_sizes_are_solved_for_their_dimension(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, {"image": torch.zeros(11, 3)})
    inputs = {
        "image": TensorInput(shape=["2*batch+1", 3]),
        "mask": TensorInput(shape=["batch"]),
    }
    example = made(tmp_path, inputs=inputs, dims=DIMS, example=file)
    assert example.sizes == {"batch": 5}
    assert example.tensors[1].shape == (5,)


def test_a_key_that_is_no_input_is_told(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, {"imgae": DATA["image"]})
    error = refused(ConfigError, tmp_path, inputs=INPUTS, dims=DIMS, example=file)
    assert error.what == f'"{file}" holds "imgae", which is no input'
    assert (error.where, error.fix) == (WHERE, 'did you mean "image"?')
    write(tmp_path, file, {"qqqq": DATA["image"]})
    error = refused(ConfigError, tmp_path, inputs=INPUTS, dims=DIMS, example=file)
    assert error.fix == "the inputs are: image, state.0.k"


def test_a_key_that_is_no_parameter_is_told(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, {"imgae": DATA["image"]})
    error = refused(ConfigError, tmp_path, example=file)
    assert error.what == 'forward() has no parameter "imgae"'
    write(tmp_path, file, {"mask": DATA["image"]})
    error = refused(ConfigError, tmp_path, example=file)
    assert error.what == 'the parameter "image" of forward() has no input'


def test_data_of_another_dtype_is_told(tmp_path: Path, file: str) -> None:
    write(tmp_path, file, {"image": DATA["image"].double()})
    error = refused(ExportError, tmp_path, inputs=INPUTS, dims=DIMS, example=file)
    assert error.what == "image has dtype float64 in the example, but is declared as float32"
    assert error.where == WHERE


@pytest.mark.parametrize(
    ("declared", "shape", "told"),
    [
        (["batch", 3], [4, 5], "the shape (4, 5) in the example, but is declared as (batch, 3)"),
        (["batch", 3], [4], "the shape (4,) in the example, but is declared as (batch, 3)"),
        (["batch", "batch"], [4, 5], "the shape (4, 5) in the example"),
        (["2*batch+1", 3], [4, 3], "declared as (2*batch+1, 3)"),
        ([], [4], "declared as ()"),
    ],
)
def test_data_of_another_shape_is_told(
    tmp_path: Path, file: str, declared: list[int | str], shape: list[int], told: str
) -> None:
    write(tmp_path, file, {"image": torch.zeros(shape)})
    inputs = {"image": TensorInput(shape=declared)}
    error = refused(ExportError, tmp_path, inputs=inputs, dims=DIMS, example=file)
    assert told in error.what
    assert (error.where, error.fix) == (WHERE, "correct the shape, or the data")


def test_sizes_of_two_tensors_that_contradict_each_other_are_told(
    tmp_path: Path, file: str
) -> None:
    write(tmp_path, file, {"image": torch.zeros(4, 3), "mask": torch.zeros(5)})
    inputs = {"image": IMAGE, "mask": TensorInput(shape=["batch"])}
    error = refused(ExportError, tmp_path, inputs=inputs, dims=DIMS, example=file)
    assert error.what == "mask has the shape (5,) in the example, but is declared as (batch)"
    assert error.why == "batch = 4"


@pytest.mark.parametrize(
    ("dim", "size", "told"),
    [
        (DeclaredDim(min=1, max=8), 9, "declared is 1 to 8"),
        (DeclaredDim(min=4), 3, "declared is 4 or more"),
        (DeclaredDim(min=0), 1, "a dimension whose example has the size 0 or 1"),
        (DeclaredDim(min=0), 0, "a dimension whose example has the size 0 or 1"),
        (DeclaredDim(auto=True), 1, "a dimension whose example has the size 0 or 1"),
        (DeclaredDim(min=4, multiple_of=4), 6, "every size is declared to be a multiple of 4"),
        (DeclaredDim(min=4, multiple_of=4), 4, "a multiple of 4 whose example is 0 or 4"),
    ],
)
def test_data_of_a_size_that_cannot_be_traced_is_told(
    tmp_path: Path, file: str, dim: DeclaredDim, size: int, told: str
) -> None:
    write(tmp_path, file, {"image": torch.zeros(size, 3)})
    inputs = {"image": IMAGE}
    error = refused(ExportError, tmp_path, inputs=inputs, dims={"batch": dim}, example=file)
    assert error.what == f"batch is {size} in the example"
    assert told in error.why
    assert error.where == WHERE


UNREADABLE = {
    "empty": b"",
    "text": b"version https://git-lfs.github.com/spec/v1\n",
    "truncated zip": b"PK\x03\x04 and no more",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    error = refused(WeightsError, tmp_path, inputs=INPUTS, dims=DIMS, example=file)
    assert error.what == f'"{file}" cannot be read as example data'
    assert (error.where, bool(error.why)) == (WHERE, True)
    assert "safetensors.torch.save_file or numpy.savez" in error.fix


def test_a_file_with_a_damaged_array_is_told(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", image=np.arange(999.0))
    content = bytearray((tmp_path / "data.npz").read_bytes())
    for i in range(120, 400):
        content[i] ^= 255
    (tmp_path / "data.npz").write_bytes(content)
    refused(WeightsError, tmp_path, inputs=INPUTS, dims=DIMS, example="data.npz")


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([None], dtype=object), np.zeros(2, dtype=">f4")], ids=str
)
def test_arrays_that_are_no_tensors_are_told(tmp_path: Path, array: Any) -> None:
    np.savez(tmp_path / "data.npz", image=array)
    refused(WeightsError, tmp_path, inputs=INPUTS, dims=DIMS, example="data.npz")


FUNCTIONS = """\
import sys
import torch

def call():
    return (torch.arange(6.0).reshape(2, 3),), {"mask": {"k": torch.tensor([1])}}

def as_list():
    return [[torch.ones(2)], {}]

def none():
    return None

def tensor():
    return torch.ones(2)

def swapped():
    return {}, ()

def tensorless():
    return (1,), {}

def wrong():
    return (torch.ones(2),), {"msk": 3}

def strange():
    return (torch.ones(2),), {"mask": object()}

def fails():
    raise LookupError("no data here")

def leaves():
    sys.exit(3)

constant = (torch.ones(2), ), {}
"""


@pytest.fixture
def functions(tmp_path: Path, fresh_imports: None) -> Path:
    """A project with functions that return example calls."""
    del fresh_imports
    (tmp_path / "demo_data.py").write_text(FUNCTIONS, encoding="utf-8")
    return tmp_path


def test_a_function_of_the_project_says_what_the_model_takes(functions: Path) -> None:
    example = made(functions, example="demo_data:call")
    assert example.labels == ["image", 'mask["k"]']
    assert example.shapes == [[2, 3], [1]]
    assert example.tensors[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    again = example.samples.drawn([[2, 3], [1]], CPU)
    assert all(torch.equal(*pair) for pair in zip(example.tensors, again, strict=True))
    assert [leaf.dtype for leaf in example.samples.leaves] == ["float32", "int64"]


@pytest.mark.parametrize("name", ["as_list", "constant"])
def test_a_call_may_be_lists_or_no_function_at_all(functions: Path, name: str) -> None:
    assert made(functions, example=f"demo_data:{name}").labels == ["image"]


def test_the_tensors_of_a_function_have_the_dtype_of_the_model(functions: Path) -> None:
    example = made(functions, dtype="bfloat16", example="demo_data:call")
    assert [tensor.dtype for tensor in example.tensors] == [torch.bfloat16, torch.int64]
    assert [leaf.dtype for leaf in example.samples.leaves] == ["bfloat16", "int64"]


@pytest.mark.parametrize(
    ("name", "kind"), [("none", "NoneType"), ("tensor", "Tensor"), ("swapped", "tuple")]
)
def test_what_is_no_example_call_is_told(functions: Path, name: str, kind: str) -> None:
    error = refused(SourceError, functions, example=f"demo_data:{name}")
    assert error.what == f'"demo_data:{name}" does not return an example call'
    assert (error.where, error.why) == (WHERE, f"it returns {kind}")
    assert error.fix == "return (args, kwargs), a tuple and a dict, such as return (image,), {}"


@pytest.mark.parametrize(
    ("name", "why"), [("fails", "LookupError: no data here"), ("leaves", "SystemExit: 3")]
)
def test_a_function_that_fails_is_told_with_its_line(functions: Path, name: str, why: str) -> None:
    error = refused(SourceError, functions, example=f"demo_data:{name}")
    assert error.what == f'calling "demo_data:{name}" failed'
    assert error.why.startswith(f"{why}\nat demo_data.py:")
    assert f"in {name}: " in error.why


def test_an_example_without_tensors_is_told(functions: Path) -> None:
    error = refused(ExportError, functions, example="demo_data:tensorless")
    assert error.what == "the example has no tensor"


def test_an_example_that_the_method_does_not_take_is_told(functions: Path) -> None:
    error = refused(ConfigError, functions, example="demo_data:wrong")
    assert error.what.startswith("the example does not fit forward(image")
    assert error.why == "got an unexpected keyword argument 'msk'"
    error = refused(ExportError, functions, example="demo_data:strange")
    assert error.what == "the argument mask is a builtins.object"


def test_a_function_that_does_not_exist_is_told(functions: Path) -> None:
    error = refused(SourceError, functions, example="demo_data:cal")
    assert error.what == '"demo_data" has no attribute "cal"'
    assert (error.where, error.fix) == (WHERE, 'did you mean "call"?')
