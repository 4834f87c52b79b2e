"""Calls: every wrong argument is told by name with what to do, every odd but right one accepted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from samples import IMAGE, Loaded, LoadPackage, sample_manifest, sample_variant
from torch.utils.flop_counter import FlopCounterMode

from aotbuild.runtime import arguments
from aotbuild.runtime.dims import Dim
from aotbuild.runtime.manifest import Input

INPUTS = [
    Input("image", "float32", ["batch", 2, "width"], [0, 1, 2]),
    Input("mask", "bool", ["batch"], [0]),
    Input("scale", "complex64", [3], [0]),
]
DIMS = {"batch": Dim(1, 8), "width": Dim(2, None)}
OUTPUTS: dict[str, Any] = {
    "type": "tuple",
    "items": [
        {"type": "tensor", "index": i, "dtype": spec.dtype, "shape": spec.shape}
        for i, spec in enumerate(INPUTS)
    ],
}


def right(**changes: Any) -> dict[str, Any]:
    """Arguments that the model takes, some of them changed."""
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randn(4, 2, 6, generator=generator),
        "mask": torch.tensor([True, False, True, True]),
        "scale": torch.randn(3, dtype=torch.complex64, generator=generator),
        **changes,
    }


GIVEN = right()


@pytest.fixture
def loaded(load_package: LoadPackage) -> Loaded:
    """A model that returns its three inputs."""
    return load_package(
        sample_manifest(
            kinds={"scale": "keyword-only"},
            inputs=INPUTS,
            outputs=OUTPUTS,
            dims=DIMS,
            declared=DIMS,
        )
    )


@pytest.fixture
def net(loaded: Loaded) -> Callable[..., Any]:
    """The same, as its user sees it."""
    model: Callable[..., Any] = loaded.net
    return model


def test_right_arguments_pass_as_they_are(loaded: Loaded) -> None:
    given = right()
    result = loaded.net(**given)
    assert all(one is other for one, other in zip(result, given.values(), strict=True))


def test_arguments_may_be_positional_or_named_in_any_order(net: Callable[..., Any]) -> None:
    given = right()
    image, mask, scale = given.values()
    for result in (
        net(image, mask, scale=scale),
        net(image, scale=scale, mask=mask),
        net(scale=scale, mask=mask, image=image),
    ):
        assert all(one is other for one, other in zip(result, given.values(), strict=True))


TAKES = "; it takes image, mask, *, scale"
TENSOR = torch.zeros(1)


@pytest.mark.parametrize(
    ("positional", "named", "message"),
    [
        (0, [], f"net() is missing required argument 'image'{TAKES}"),
        (0, ["image", "mask"], f"net() is missing required argument 'scale'{TAKES}"),
        (1, ["scale"], f"net() is missing required argument 'mask'{TAKES}"),
        (2, ["scale", "scal"], f"net() has no argument 'scal'{TAKES}"),
        (0, ["self"], "net() got multiple values for argument 'self'"),
        (2, ["scale", "image"], "net() got multiple values for argument 'image'"),
        (2, ["scale", "mask"], "net() got multiple values for argument 'mask'"),
        (3, [], f"net() got 3 positional arguments, 1 too many{TAKES}"),
        (5, ["scale"], f"net() got 5 positional arguments, 3 too many{TAKES}"),
    ],
)
def test_a_call_that_does_not_bind_is_told(
    net: Callable[..., Any], positional: int, named: list[str], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        net(*[TENSOR] * positional, **dict.fromkeys(named, TENSOR))
    assert str(caught.value) == message


class Exporting:
    """An array of another library."""

    def __dlpack__(self) -> Any:
        raise NotImplementedError


class Subclass(torch.Tensor):
    """A tensor that is more than a tensor."""


def meta(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, device="meta")


def quantized() -> torch.Tensor:
    with warnings.catch_warnings(action="ignore"):  # of torch, that it will be removed
        return torch.quantize_per_tensor(torch.zeros(4, 2, 6), 0.1, 0, torch.qint8)


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str, str]] = {
    "list": (
        {"image": [[1.0]]},
        TypeError,
        "'image' must be a torch.Tensor, got list",
        "Convert it: torch.tensor(image, dtype=torch.float32)",
    ),
    "number": (
        {"mask": 1},
        TypeError,
        "'mask' must be a torch.Tensor, got int",
        "Convert it: torch.tensor(mask, dtype=torch.bool)",
    ),
    "None": (
        {"scale": None},
        TypeError,
        "'scale' must be a torch.Tensor, got NoneType",
        "It is required",
    ),
    "numpy": (
        {"image": np.zeros((4, 2, 6), dtype=np.float32)},
        TypeError,
        "'image' must be a torch.Tensor, got numpy.ndarray",
        "Convert it: torch.from_numpy(image)",
    ),
    "numpy scalar": (
        {"image": np.float32(3)},
        TypeError,
        "'image' must be a torch.Tensor, got numpy.float32",
        "Convert it: torch.tensor(image, dtype=torch.float32)",
    ),
    "DLPack": (
        {"image": Exporting()},
        TypeError,
        f"'image' must be a torch.Tensor, got {__name__}.Exporting",
        "Convert it: torch.from_dlpack(image)",
    ),
    "subclass": (
        {"image": torch.zeros(4, 2, 6).as_subclass(Subclass)},
        TypeError,
        f"'image' must be a torch.Tensor, got {__name__}.Subclass",
        "Pass a plain tensor: image.as_subclass(torch.Tensor)",
    ),
    "sparse": (
        {"mask": torch.ones(4, dtype=torch.bool).to_sparse()},
        TypeError,
        "'mask' must be a dense tensor, got layout torch.sparse_coo",
        "Convert it: mask.to_dense()",
    ),
    "dtype": (
        {"image": torch.zeros(4, 2, 6, dtype=torch.float64)},
        TypeError,
        "'image' must have dtype float32, got float64",
        "Convert it: image.to(torch.float32)",
    ),
    "dtype of a mask": (
        {"mask": torch.ones(4, dtype=torch.uint8)},
        TypeError,
        "'mask' must have dtype bool, got uint8",
        "Convert it: mask.to(torch.bool)",
    ),
    "rank": (
        {"image": torch.zeros(2, 6)},
        ValueError,
        "'image' must have 3 dimensions, (batch, 2, width), got 2: shape (2, 6)",
        "",
    ),
    "0-dim": (
        {"mask": torch.tensor(data=True)},
        ValueError,
        "'mask' must have 1 dimensions, (batch,), got 0: shape ()",
        "",
    ),
    "static size": (
        {"image": torch.zeros(4, 3, 6)},
        ValueError,
        "'image' must have shape (batch, 2, width), got (4, 3, 6)",
        "dimension 1 must be 2, not 3",
    ),
    "static size of the only dimension": (
        {"scale": torch.zeros(4, dtype=torch.complex64)},
        ValueError,
        "'scale' must have shape (3,), got (4,)",
        "dimension 0 must be 3, not 4",
    ),
    "above the range": (
        {"image": torch.zeros(9, 2, 6)},
        ValueError,
        "'image' has shape (9, 2, 6), expected (batch, 2, width): batch is 9",
        "the compiled model takes 1 to 8",
    ),
    "below the range": (
        {"image": torch.zeros(0, 2, 6)},
        ValueError,
        "batch is 0",
        "the compiled model takes 1 to 8",
    ),
    "below a range without a limit": (
        {"image": torch.zeros(4, 2, 1)},
        ValueError,
        "width is 1",
        "the compiled model takes 2 or more",
    ),
    "unequal sizes": (
        {"mask": torch.ones(5, dtype=torch.bool)},
        ValueError,
        "'mask' has shape (5,), expected (batch,): batch is 5",
        "but 4 in 'image'",
    ),
    "quantized": (
        {"image": quantized()},
        TypeError,
        "'image' must have dtype float32, got qint8",
        "Convert it: image.dequantize()",
    ),
    "complex": (
        {"image": torch.zeros(4, 2, 6, dtype=torch.complex64)},
        TypeError,
        "'image' must have dtype float32, got complex64",
        "Take a part of it: image.real.to(torch.float32)",
    ),
    "masked": (
        {"mask": np.ma.masked_array(np.ones(4, bool))},
        TypeError,
        "'mask' must be a torch.Tensor, got numpy.ma.MaskedArray",
        "Give what is masked a value: torch.from_numpy(mask.filled(0))",
    ),
    "meta device": (
        {"image": meta(4, 2, 6)},
        ValueError,
        "'image' is on meta; this package runs on cpu",
        'torch.zeros_like(image, device="cpu")',
    ),
    "another device than the first": (
        {"scale": torch.zeros(3, dtype=torch.complex64, device="meta")},
        ValueError,
        "'scale' is on meta, but 'image' is on cpu",
        'torch.zeros_like(scale, device="cpu")',
    ),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_wrong_argument_is_told_by_name_with_what_to_do(
    loaded: Loaded, case: tuple[dict[str, Any], type[Exception], str, str]
) -> None:
    changes, kind, what, fix = case
    with pytest.raises(kind) as caught:
        loaded.net(**right(**changes))
    message = str(caught.value)
    assert message.startswith("net(): argument ")
    assert what in message
    assert fix in message
    assert loaded.received == [], "the compiled code must not run"


@pytest.mark.parametrize("case", ["dtype", "quantized", "complex", "masked"])
def test_what_a_message_proposes_is_taken(loaded: Loaded, case: str) -> None:
    changes = WRONG[case][0] if case in WRONG else {"image": torch.zeros(4, 2, 6).double()}
    with pytest.raises(TypeError) as caught:
        loaded.net(**right(**changes))
    proposed = str(caught.value).rpartition(": ")[2]
    ((name, value),) = changes.items()
    found = eval(proposed, {"torch": torch, name: value})  # noqa: S307
    loaded.net(**right(**{name: found}))
    assert len(loaded.received) == 3


def test_devices_are_named_once(load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [
        sample_variant(),
        sample_variant(target="cpu-other", library="net/other.so"),
    ]
    loaded = load_package(sample_manifest(variants=variants))
    with pytest.raises(ValueError, match=r"'image' is on meta; this package runs on cpu\. It has"):
        loaded.net(torch.zeros(2, 1, 8, device="meta"))
    monkeypatch.setenv("AOTBUILD_DEVICE", "cuda")
    with pytest.raises(loaded.error, match="net was compiled for cpu; set it to one of these"):
        type(loaded.net)(loaded.net._package, "net")


def test_tensors_that_are_all_on_another_device_are_told(net: Callable[..., Any]) -> None:
    given = {name: tensor.to("meta") for name, tensor in right().items()}
    with pytest.raises(ValueError, match="'image' is on meta; this package runs on cpu"):
        net(**given)


def test_a_fake_tensor_is_refused(net: Callable[..., Any]) -> None:
    with torch._subclasses.FakeTensorMode() as mode:
        fake = mode.from_tensor(torch.zeros(4, 2, 6))
    with pytest.raises(TypeError, match=r"got torch\._subclasses\.fake_tensor\.FakeTensor"):
        net(**right(image=fake))


def emptied(tensor: torch.Tensor) -> torch.Tensor:
    tensor.untyped_storage().resize_(0)
    return tensor


TELLS_LITTLE = {
    "nested": (
        lambda: torch.nested.nested_tensor([torch.zeros(2, 6)] * 4),
        TypeError,
        "must be a dense tensor, got a nested one",
    ),
    "functional": (
        lambda: torch._to_functional_tensor(torch.zeros(4, 2, 6)),
        TypeError,
        "is inside a transform of torch.func",
    ),
    "emptied": (lambda: emptied(torch.zeros(4, 2, 6)), ValueError, "has no memory"),
    "emptied and transposed": (
        lambda: emptied(torch.zeros(6, 2, 4).permute(2, 1, 0)),
        ValueError,
        "has no memory",
    ),
}
"""Tensors whose type, dtype, device and sizes are right, or raise an error when asked for."""


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("case", TELLS_LITTLE.values(), ids=TELLS_LITTLE)
def test_a_tensor_without_memory_of_its_own_is_told(
    loaded: Loaded, case: tuple[Callable[[], torch.Tensor], type[Exception], str]
) -> None:
    make, kind, message = case
    image = make()
    with pytest.raises(kind) as caught:
        loaded.net(**right(image=image))
    assert str(caught.value).startswith(f"net(): argument 'image' {message}")
    assert loaded.received == []


def test_a_call_inside_a_transform_is_told(loaded: Loaded) -> None:
    images = torch.zeros(3, 4, 2, 6)

    def call(image: torch.Tensor) -> Any:
        return loaded.net(**{**GIVEN, "image": image})

    for transformed in (torch.vmap(call), torch.func.grad(call)):
        with pytest.raises(TypeError, match="'image' is inside a transform"):
            transformed(images)
    assert loaded.received == []


def test_a_trace_of_torch_jit_is_refused(loaded: Loaded) -> None:
    trace: Any = torch.jit.trace

    def call(image: torch.Tensor) -> Any:
        return loaded.net(**{**GIVEN, "image": image})[0]

    with (
        pytest.warns((DeprecationWarning, FutureWarning), match=r"torch\.jit\.trace"),
        pytest.raises(TypeError, match=r"'image' is passed while torch\.jit traces"),
    ):
        trace(call, GIVEN["image"], check_trace=False)
    assert loaded.received == []


class Picture:
    """Stands for an image of an older library, which numpy reads by its interface."""

    __array_interface__ = GIVEN["image"].numpy().__array_interface__


MADE_BY_NUMPY = 'torch.from_numpy(numpy.array(image, dtype="float32"))'


class Table:
    """Stands for a DataFrame or an image: no sequence, but numpy makes an array of it."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return GIVEN["image"].numpy().astype(dtype)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (GIVEN["image"].tolist(), "torch.tensor(image, dtype=torch.float32)"),
        (list(GIVEN["image"].numpy()), "torch.tensor(image, dtype=torch.float32)"),
        ((GIVEN["image"],), "image[0]"),
        (list(GIVEN["image"]), "torch.stack(image)"),
        (Table(), MADE_BY_NUMPY),
        (Picture(), MADE_BY_NUMPY),
        (GIVEN["image"].numpy(), "torch.from_numpy(image)"),
        (GIVEN["image"].numpy()[::-1], MADE_BY_NUMPY),
        (GIVEN["image"].numpy().astype(">f4"), MADE_BY_NUMPY),
        (GIVEN["image"].numpy().astype("O"), MADE_BY_NUMPY),
        ("a word", ""),
        ({"image": GIVEN["image"]}, ""),
        ([GIVEN["image"], GIVEN["mask"]], ""),
        (object(), ""),
    ],
)
def test_the_advice_for_what_is_no_tensor_works(loaded: Loaded, value: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=r"must be a torch\.Tensor, got") as caught:
        loaded.net(**right(image=value))
    told = str(caught.value)
    if not advice:
        assert told.endswith(". torch makes no tensor of it")
        return
    way = told.rpartition("Convert it: ")[2]
    assert advice in way
    tensor = eval(way, {"torch": torch, "numpy": np, "image": value})  # noqa: S307
    torch.testing.assert_close(loaded.net(**right(image=tensor))[0], tensor)


def test_a_tensor_without_values_is_told(loaded: Loaded) -> None:
    with pytest.raises(ValueError, match=r"'image' is on meta; .* It has no values") as caught:
        loaded.net(**right(image=GIVEN["image"].to("meta")))
    way = str(caught.value).rpartition("zeros: ")[2]
    zeros = eval(way, {"torch": torch, "image": GIVEN["image"].to("meta")})  # noqa: S307
    assert torch.equal(loaded.net(**right(image=zeros))[0], torch.zeros(4, 2, 6))


def test_a_mode_without_values_is_told_and_others_are_not(loaded: Loaded) -> None:
    with (
        torch._subclasses.FakeTensorMode(),
        pytest.raises(TypeError, match="'image' is passed under FakeTensorMode"),
    ):
        loaded.net(**GIVEN)
    assert loaded.received == []
    with FlopCounterMode(display=False):
        loaded.net(**GIVEN)
    assert torch.equal(loaded.received[0], GIVEN["image"])


WIDE = torch.randn(4, 2, 12, generator=torch.Generator().manual_seed(1))
COMPLEX = torch.randn(4, 2, 6, dtype=torch.complex64, generator=torch.Generator().manual_seed(2))
ODD = {
    "parameter": {"image": torch.nn.Parameter(torch.ones(4, 2, 6))},
    "requires grad": {"image": torch.ones(4, 2, 6, requires_grad=True)},
    "part of a graph": {"image": torch.ones(4, 2, 6, requires_grad=True) * 2},
    "transposed": {"image": WIDE.permute(2, 1, 0)[:4].contiguous().permute(2, 1, 0)[..., :3]},
    "every second": {"image": WIDE[..., ::2]},
    "expanded": {"image": torch.tensor(3.0).expand(4, 2, 6)},
    "slice": {"image": WIDE[..., 3:9]},
    "negative": {"image": COMPLEX.conj().imag},
    "conjugate": {"scale": COMPLEX.conj()[0, 0, :3]},
    "negative complex": {"scale": torch._neg_view(COMPLEX[0, 0, :3])},
    "expanded mask": {"mask": torch.tensor(data=True).expand(4)},
    "zeros": {"image": torch._efficientzerotensor(4, 2, 6)},
    "inference tensor": {"image": torch.inference_mode()(torch.ones)(4, 2, 6)},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_an_odd_but_right_argument_is_laid_out_for_the_compiled_code(
    loaded: Loaded, changes: dict[str, torch.Tensor]
) -> None:
    given = right(**changes)
    loaded.net(**given)
    for (name, expected), received in zip(given.items(), loaded.received, strict=True):
        assert type(received) is torch.Tensor or name not in changes
        assert received.is_contiguous()
        assert not received.is_neg()
        assert not received.is_conj()
        assert torch.equal(received.detach(), expected.detach())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_negative_view_of_any_dtype_is_resolved(load_package: LoadPackage, dtype: str) -> None:
    loaded = load_package(sample_manifest(inputs=[Input("x", dtype, ["batch"], [0])]))
    value = torch._neg_view(torch.ones(3, dtype=getattr(torch, dtype)))
    loaded.net(value)
    assert not loaded.received[0].is_neg()
    assert torch.equal(loaded.received[0], value)


@pytest.mark.parametrize("size", [1, 8])
def test_both_ends_of_a_range_are_accepted(loaded: Loaded, size: int) -> None:
    loaded.net(**right(image=torch.zeros(size, 2, 2), mask=torch.ones(size, dtype=torch.bool)))
    assert loaded.received[0].shape == (size, 2, 2)


def test_a_range_from_0_accepts_an_empty_tensor(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest(dims={"batch": Dim(0, 8)}))
    assert loaded.net(torch.zeros(0, 1, 8)).shape == (0, 1, 8)


def test_a_condition_of_the_compiled_code_is_told(load_package: LoadPackage) -> None:
    inputs = [Input("a", "float32", ["rows"], [0]), Input("b", "float32", ["cols"], [0])]
    dims = {"rows": Dim(1, 64), "cols": Dim(1, None)}
    conditions = ["(rows % 2) == 0", "rows < cols"]
    loaded = load_package(
        sample_manifest(inputs=inputs, dims=dims, declared=dims, conditions=conditions)
    )
    loaded.net(torch.zeros(4), torch.zeros(5))
    assert len(loaded.received) == 2
    loaded.received = []
    for rows, cols, condition in ((3, 5, conditions[0]), (4, 4, conditions[1])):
        with pytest.raises(ValueError, match="which needs ") as caught:
            loaded.net(torch.zeros(rows), torch.zeros(cols))
        assert condition in str(caught.value)
        assert "net(): the sizes of cols and rows" in str(caught.value)
        with pytest.raises(ValueError, match="which needs "):  # as well on the slow path
            loaded.net(torch.zeros(rows, requires_grad=True), torch.zeros(2 * cols)[::2])
    assert loaded.received == []


def test_a_condition_may_round_and_a_dimension_be_called_as_a_function(
    load_package: LoadPackage,
) -> None:
    inputs = [Input("a", "float32", ["round"], [0]), Input("b", "float32", ["cols"], [0])]
    dims = {"round": Dim(1, 64), "cols": Dim(1, None)}
    conditions = ["round(0.25*round) == 2", "floor(0.5*float(cols)) < round"]
    loaded = load_package(
        sample_manifest(inputs=inputs, dims=dims, declared=dims, conditions=conditions)
    )
    loaded.net(torch.zeros(8), torch.zeros(15))
    loaded.net(torch.zeros(9, requires_grad=True), torch.zeros(34)[::2])
    assert len(loaded.received) == 2
    for rows, cols, condition in ((4, 5, conditions[0]), (8, 16, conditions[1])):
        with pytest.raises(ValueError, match="which needs ") as caught:
            loaded.net(torch.zeros(rows), torch.zeros(cols))
        assert condition in str(caught.value)


ORDERS = [[0, 1, 2, 3], [0, 2, 3, 1], [3, 2, 1, 0], [1, 0, 3, 2], [2, 0, 3, 1]]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_tensor_is_laid_out_in_the_order_that_the_code_reads(order: list[int]) -> None:
    spec = Input("image", "float32", ["batch", 3, 4, 5], order)
    value = torch.randn(2, 3, 4, 5)
    (found,) = arguments.admit(sample_manifest(inputs=[spec]), (value,), torch.device("cpu"))
    assert torch.equal(found, value)
    strides = [found.stride(dim) for dim in order]
    sizes = [found.size(dim) for dim in order]
    assert strides == list(torch.empty(sizes).stride())


@pytest.mark.parametrize("order", ORDERS[1:], ids=str)
def test_a_contiguous_tensor_is_laid_out_anew_when_the_code_reads_another_order(
    load_package: LoadPackage, order: list[int]
) -> None:
    spec = Input("image", "float32", ["batch", 3, 4, 5], order)
    loaded = load_package(sample_manifest(inputs=[spec]))
    value = torch.randn(2, 3, 4, 5)
    loaded.net(value)
    assert torch.equal(loaded.received[0], value)
    assert loaded.received[0].permute(order).is_contiguous()


NUMBERS: dict[str, list[Any]] = {
    "float64": [1.5, 3, -0.0, 1e308, float("inf"), float("-inf"), float("nan"), 10**300],
    "float32": [1.5, 3, 0.1, 3e38, float("inf"), 2**100],
    "float16": [1.5, 65504],
    "bfloat16": [1.5, 2**100],
    "int64": [0, 2**63 - 1, -(2**63)],
    "int8": [127, -128],
    "uint8": [0, 255],
    "bool": [True, False],
}


@pytest.mark.parametrize(
    ("dtype", "value"), [(dtype, value) for dtype, values in NUMBERS.items() for value in values]
)
def test_a_number_stands_for_a_tensor_without_dimensions(
    load_package: LoadPackage, dtype: str, value: Any
) -> None:
    loaded = load_package(sample_manifest(inputs=[Input("t", dtype, [], [])]))
    with torch.device("meta"):
        loaded.net(value)
    (received,) = loaded.received
    expected = torch.tensor(value, dtype=getattr(torch, dtype))
    torch.testing.assert_close(received, expected, rtol=0, atol=0, equal_nan=True)


UNFIT: list[tuple[str, Any, type[Exception], str]] = [
    ("int8", 128, ValueError, "'t' has dtype int8, which holds -128 to 127, got 128"),
    ("int8", -129, ValueError, "'t' has dtype int8, which holds -128 to 127, got -129"),
    ("uint8", -1, ValueError, "'t' has dtype uint8, which holds 0 to 255, got -1"),
    ("int64", 2**63, ValueError, f"'t' has dtype int64, which holds -{2**63} to {2**63 - 1}"),
    ("int64", 1 << 9999, ValueError, "got a number of 10000 bits"),
    ("float16", 70000, ValueError, "'t' has dtype float16, which holds -65504.0 to 65504.0"),
    ("float32", 1e39, ValueError, "'t' has dtype float32, which holds -3.4"),
    ("float64", -(10**400), ValueError, "'t' has dtype float64, which holds -1.7"),
    ("float32", True, TypeError, "'t' must be a torch.Tensor or a float, got bool"),
    ("float32", 1j, TypeError, "'t' must be a torch.Tensor or a float, got complex"),
    ("float32", np.float64(1), TypeError, "'t' must have dtype float32, got float64"),
    ("int64", 1.0, TypeError, "'t' must be a torch.Tensor or an int, got float"),
    ("int64", True, TypeError, "'t' must be a torch.Tensor or an int, got bool"),
    ("bool", 1, TypeError, "'t' must be a torch.Tensor or a bool, got int"),
    ("complex64", 1.0, TypeError, "'t' must be a torch.Tensor, got float"),
]


@pytest.mark.parametrize(("dtype", "value", "kind", "message"), UNFIT)
def test_a_number_that_does_not_fit_is_told(
    load_package: LoadPackage, dtype: str, value: Any, kind: type[Exception], message: str
) -> None:
    loaded = load_package(sample_manifest(inputs=[Input("t", dtype, [], [])]))
    with pytest.raises(kind) as caught:
        loaded.net(value)
    assert message in str(caught.value)
    assert loaded.received == []


def test_a_number_is_put_where_the_tensors_are() -> None:
    inputs = [Input("t", "float32", [], []), IMAGE]
    manifest = sample_manifest(inputs=inputs, variants=[sample_variant(device="meta")])
    found = arguments.admit(manifest, (1.5, meta(4, 1, 8)), torch.device("cpu"))
    assert [tensor.device.type for tensor in found] == ["meta", "meta"]
