"""Calls with arrays by torch's own runner; ``tests/wheels`` has them on the native engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from samples import TENSOR, Loaded, LoadPackage, sample_manifest

from aotbuild.runtime.checks import check_conditions
from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Input

X = np.arange(16, dtype=np.float32).reshape(2, 1, 8)
INPUTS = [
    Input("x", "float32", ["batch", 1, 8], [0, 1, 2]),
    Input("ids", "int64", [Affine("batch", 2, 0)], [0]),
    Input("t", "float32", [], []),
]
OUTPUTS: dict[str, Any] = {"type": "list", "items": [{**TENSOR, "index": i} for i in range(3)]}
IDS = np.arange(4)


class Array:
    """An array of another library, by DLPack alone."""

    def __init__(self, given: Any) -> None:
        self._own = torch.as_tensor(given)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._own.shape)

    @property
    def dtype(self) -> str:
        return str(self._own.dtype).replace("torch", "other")

    def __dlpack__(self) -> Any:  # as before there were versions
        return self._own.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0) if self._own.device.type == "cpu" else (2, 0)

    @staticmethod
    def __array_namespace__() -> type[Other]:
        return Other


class Other:
    """The namespace of that library."""

    @staticmethod
    def from_dlpack(given: Any) -> Array:
        return Array(torch.utils.dlpack.from_dlpack(given.__dlpack__()))

    @staticmethod
    def asarray(value: float, dtype: torch.dtype) -> Array:
        return Array(torch.tensor(value, dtype=dtype))

    float32 = torch.float32


@pytest.fixture
def loaded(load_package: LoadPackage) -> Loaded:
    return load_package(sample_manifest(inputs=INPUTS, outputs=OUTPUTS))


def refused(loaded: Loaded, *args: Any) -> str:
    with pytest.raises((TypeError, ValueError)) as caught:
        loaded.net(*args)
    assert loaded.received == []
    return f"{type(caught.value).__name__}: {caught.value}"


def readonly(array: Any) -> Any:
    array.flags.writeable = False
    return array


def unaligned(array: Any) -> Any:
    data = bytearray(1) + array.tobytes()
    return np.frombuffer(data, array.dtype, offset=1).reshape(array.shape)


SAME: dict[str, Callable[[], Any]] = {
    "plain": lambda: X,
    "negative strides": lambda: X[::-1, :, ::-1],
    "every second": lambda: np.repeat(X, 2, axis=2)[:, :, ::2],
    "transposed": lambda: np.asfortranarray(X),
    "other bytes": lambda: X.astype(">f4"),
    "read-only": lambda: readonly(X.copy()),
    "unaligned": lambda: unaligned(X),
    "repeated": lambda: np.broadcast_to(X[:1], X.shape),
    "memmap": lambda: X.view(np.memmap),
}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_arrays_of_any_layout(loaded: Loaded, make: Callable[[], Any]) -> None:
    x = make()
    results = loaded.net(x, ids=IDS, t=np.float32(0.5))
    for result, given in zip(results, (x, IDS, np.float32(0.5)), strict=True):
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, np.asarray(given))
    assert all(type(tensor) is torch.Tensor for tensor in loaded.received)
    assert loaded.received[0].is_contiguous()
    results[0][:] = 0  # it is the caller's own, unless the model gives what it was given


@pytest.mark.parametrize("number", [0.5, 2, np.float32(0.5), np.array(0.5, np.float32)])
def test_a_number_stands_for_an_array_without_dimensions(loaded: Loaded, number: Any) -> None:
    result = loaded.net(X, IDS, number)[2]
    assert type(result) is np.ndarray
    assert result.dtype == np.float32
    assert result == number


def test_arrays_of_another_library(loaded: Loaded) -> None:
    results = loaded.net(Array(X), Array(IDS), 0.5)
    assert [type(result) for result in results] == [Array] * 3
    np.testing.assert_array_equal(results[0]._own.numpy(), X)


def test_tensors_in_give_tensors(loaded: Loaded) -> None:
    results = loaded.net(torch.from_numpy(X), torch.from_numpy(IDS), 0.5)
    assert all(type(result) is torch.Tensor for result in results)


WRONG: dict[str, tuple[tuple[Any, ...], str]] = {
    "dtype": (
        (X.astype(np.float64), IDS, 0.5),
        (
            "TypeError: net(): argument 'x' must have dtype float32, got float64. Convert it: "
            'numpy.asarray(x, dtype="float32")'
        ),
    ),
    "object": (
        (X, np.array([1, None, 2, 3]), 0.5),
        (
            "TypeError: net(): argument 'ids' must have dtype int64, got object. "
            "numpy makes no such array of it"
        ),
    ),
    "words": (
        (X, np.array(["a", "b", "c", "d"]), 0.5),
        "must have dtype int64, got str. numpy makes no such array of it",
    ),
    "numbers in words": (
        (X, np.array(["1", "2", "3", "4"]), 0.5),
        'must have dtype int64, got str. Convert it: numpy.asarray(ids, dtype="int64")',
    ),
    "fields": (
        (X, np.zeros(4, [("a", "i8"), ("b", "i8")]), 0.5),
        "must have dtype int64, got a structured one. numpy makes no such array of it",
    ),
    "complex": (
        (X.astype(np.complex64), IDS, 0.5),
        (
            "TypeError: net(): argument 'x' must have dtype float32, got complex64. Take a real "
            'part of it: numpy.asarray(x.real, dtype="float32")'
        ),
    ),
    "rank": ((X[0], IDS, 0.5), "ValueError: net(): argument 'x' must have 3 dimensions, "),
    "size": (
        (X[:, :, :4], IDS, 0.5),
        (
            "ValueError: net(): argument 'x' must have shape (batch, 1, 8), got (2, 1, 4): "
            "dimension 2 must be 8, not 4"
        ),
    ),
    "range": (
        (np.zeros((65, 1, 8), np.float32), IDS, 0.5),
        (
            "ValueError: net(): argument 'x' has shape (65, 1, 8), expected (batch, 1, 8): "
            "batch is 65, the compiled model takes 1 to 64"
        ),
    ),
    "derived": ((X, IDS[:3], 0.5), "which is 2*batch for no batch"),
    "other size": ((X, np.arange(6), 0.5), "batch is 3, but 2 in 'x'"),
    "masked": (
        (np.ma.masked_array(X), IDS, 0.5),
        (
            "TypeError: net(): argument 'x' must be a plain array, got numpy.ma.MaskedArray. "
            "Give what is masked a value: x.filled(0)"
        ),
    ),
    "list": (
        (X, [0, 1, 2, 3], 0.5),
        (
            "TypeError: net(): argument 'ids' must be an array of numpy, as 'x' is, got list. "
            'Convert it: numpy.asarray(ids, dtype="int64")'
        ),
    ),
    "None": (
        (X, None, 0.5),
        "argument 'ids' must be an array of numpy, as 'x' is, got NoneType. It is required",
    ),
    "dict": ((X, {}, 0.5), "as 'x' is, got dict. numpy makes no such array of it"),
    "number": ((X, IDS, 1e39), "ValueError: net(): argument 't' has dtype float32, which holds"),
    "bool": ((X, IDS, True), "argument 't' must be an array of numpy, as 'x' is, got bool"),
    "two libraries": (
        (X, Array(IDS), 0.5),
        f"argument 'ids' must be an array of numpy, as 'x' is, got {__name__}.Array",
    ),
    "tensor and array": (
        (torch.from_numpy(X), IDS, 0.5),
        (
            "TypeError: net(): argument 'ids' must be a torch.Tensor, got numpy.ndarray. "
            "Convert it: torch.from_numpy(ids)"
        ),
    ),
    "device": (
        (Array(torch.zeros(2, 1, 8, device="meta")), Array(IDS), 0.5),
        "ValueError: net(): argument 'x' is not on the CPU, where arrays of Other are taken from",
    ),
}


@pytest.mark.parametrize(("args", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_array_is_told(loaded: Loaded, args: tuple[Any, ...], told: str) -> None:
    assert told in refused(loaded, *args)


def test_arrays_keep_to_conditions(load_package: LoadPackage) -> None:
    manifest = sample_manifest(conditions=["batch % 2 == 0"], dims={"batch": Dim(1, 64)})
    loaded = load_package(manifest)
    assert loaded.net(X).shape == X.shape
    assert "the sizes of batch do not fit" in refused_again(loaded, X[:1])


def refused_again(loaded: Loaded, *args: Any) -> str:
    loaded.received = []
    return refused(loaded, *args)


def test_a_result_that_numpy_has_no_dtype_for(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest(), compute=lambda found: [found[0].to(torch.bfloat16)])
    with pytest.raises(TypeError, match=r"^net\(\): numpy cannot take a result .*Call it with ten"):
        loaded.net(X)


# ---- Results that are written to what is given


def pair(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return [tensors[0] + 1, tensors[0] > 3]


@pytest.fixture
def writing(load_package: LoadPackage) -> Loaded:
    leaves = [{**TENSOR, "index": 0}, {**TENSOR, "index": 1, "dtype": "bool"}]
    tree = {"type": "dict", "keys": ["a", "b"], "items": [leaves[0], {"type": "tuple"}]}
    tree["items"][1]["items"] = [leaves[1], {"type": "constant", "value": 3}]  # type: ignore[index]
    return load_package(sample_manifest(outputs=tree), compute=pair)


def test_tensors_are_written_to(writing: Loaded) -> None:
    x = torch.from_numpy(X)
    out = {"a": torch.zeros(2, 8, 1).transpose(1, 2), "b": [torch.zeros(2, 1, 8).bool(), None]}
    assert writing.net(x, out=out) is out
    assert torch.equal(out["a"], x + 1)
    assert torch.equal(out["b"][0], x > 3)


def test_arrays_are_written_to(writing: Loaded) -> None:
    out = {"a": np.zeros_like(X), "b": (np.zeros(X.shape, bool), 3)}
    assert writing.net(X, out=out) is out
    np.testing.assert_array_equal(out["a"], X + 1)
    np.testing.assert_array_equal(out["b"][0], X > 3)


def whole(**changes: Any) -> dict[str, Any]:
    return {"a": np.zeros_like(X), "b": (np.zeros(X.shape, bool), 3), **changes}


NOT_WRITTEN: dict[str, tuple[Any, str]] = {
    "keys": (
        {"a": np.zeros_like(X)},
        "net(): out must be a dict with the keys 'a', 'b'",
    ),
    "length": (whole(b=()), "ValueError: net(): out['b'] must be a tuple of 2"),
    "kind": (whole(a=torch.zeros(2, 1, 8)), "TypeError: net(): out['a'] must be a numpy.ndarray, "),
    "none": (whole(a=None), "TypeError: net(): out['a'] must be a numpy.ndarray, got NoneType"),
    "dtype": (whole(a=X.astype(float)), "net(): out['a'] must have dtype float32, got float64"),
    "shape": (whole(a=X[:1]), "net(): out['a'] must have shape (2, 1, 8), got (1, 1, 8)"),
    "read-only": (whole(a=readonly(X.copy())), "ValueError: net(): out['a'] cannot be written to"),
}


@pytest.mark.parametrize(("out", "told"), NOT_WRITTEN.values(), ids=NOT_WRITTEN)
def test_what_cannot_be_written_to(writing: Loaded, out: Any, told: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        writing.net(X, out=out)
    assert told in f"{type(caught.value).__name__}: {caught.value}"


def test_a_tensor_with_a_history_is_not_written_to(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest())
    x = torch.from_numpy(X)
    leaf = torch.zeros(2, 1, 8, requires_grad=True)
    with pytest.raises(ValueError, match="requires gradients and is not a leaf"):
        loaded.net(x, out=leaf * 2)
    assert loaded.net(x, out=leaf) is leaf
    assert torch.equal(leaf, x)


def test_a_model_may_have_an_argument_of_that_name(load_package: LoadPackage) -> None:
    out = Input("out", "float32", ["batch", 1, 8], [0, 1, 2])
    loaded = load_package(sample_manifest(inputs=[out]))
    x = torch.from_numpy(X)
    assert loaded.net(out=x) is x


@pytest.mark.parametrize("condition", ["open('x')", "batch.real", "[batch][0]", "(lambda: 1)()"])
def test_a_condition_is_arithmetic(condition: str) -> None:
    manifest = sample_manifest(conditions=[condition])
    with pytest.raises(ValueError, match=r"is no (condition between sizes|function of a size)"):
        check_conditions(manifest, {"batch": 2})
