"""Models with several methods: generated modules, pickles, and a model without forward."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from samples import IMAGE, Loaded, LoadPackage, sample_manifest

from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Input, Manifest
from aotbuild.steps.package.generate import model_module, stub

IMAGES = torch.zeros(2, 1, 8)
STEPS = torch.zeros(5)
ENCODE = sample_manifest(method="encode")
DECODE = sample_manifest(
    method="decode",
    inputs=[Input("steps", "float32", ["time"], [0])],
    dims={"time": Dim(2, 9)},
    declared={"time": Dim(2, 9)},
)
MODELS = {
    "methods": [ENCODE, DECODE],
    "one method": [DECODE],
    "methods beside forward": [sample_manifest(), ENCODE, DECODE],
    "forward last": [DECODE, sample_manifest()],
}


@pytest.fixture
def loaded(load_package: LoadPackage) -> Loaded:
    """A model of two methods, without forward."""
    return load_package(ENCODE, DECODE)


@pytest.fixture
def beside(load_package: LoadPackage) -> Loaded:
    """A model of two methods and forward."""
    return load_package(sample_manifest(), ENCODE, DECODE)


def test_each_method_is_called_by_its_name(loaded: Loaded) -> None:
    assert loaded.net.encode(IMAGES) is IMAGES
    assert loaded.net.encode(image=IMAGES) is IMAGES
    assert loaded.net.decode(STEPS) is STEPS


def test_methods_are_beside_forward(beside: Loaded) -> None:
    assert beside.net(IMAGES) is IMAGES
    assert beside.net.encode(IMAGES) is IMAGES
    assert beside.net.decode(STEPS) is STEPS


def test_each_method_has_its_own_library(beside: Loaded) -> None:
    models = [beside.net, beside.net.encode, beside.net.decode]
    assert [model._manifest.variants[0].library.file for model in models] == [
        "net/cpu-sample.so",
        "net/encode/cpu-sample.so",
        "net/decode/cpu-sample.so",
    ]
    assert beside.loads == ["cpu-sample.so on cpu"] * 3


def test_the_methods_share_the_weights_file(load_package: LoadPackage) -> None:
    loaded = load_package(ENCODE, DECODE, tensors={"weight": torch.ones(3)})
    _ = loaded.net
    assert len(loaded.handed) == 2
    assert len({constants["weight"].data_ptr() for constants in loaded.handed}) == 1
    assert torch.equal(loaded.constants["weight"], torch.ones(3))


@pytest.mark.parametrize("args", [(), (IMAGES,)])
def test_a_model_without_forward_is_not_called(loaded: Loaded, args: tuple[Any, ...]) -> None:
    message = "net() is not compiled; its methods are: net.encode(), net.decode()"
    with pytest.raises(TypeError) as caught:
        loaded.net(*args)
    assert str(caught.value) == message
    with pytest.raises(TypeError, match="is not compiled"):
        loaded.net(self=IMAGES, image=IMAGES)


def test_a_model_without_forward_shows_its_methods(loaded: Loaded) -> None:
    assert repr(loaded.net) == (
        "<compiled methods of net: "
        "<compiled model net.encode(image: float32[batch, 1, 8]) for cpu-sample>, "
        "<compiled model net.decode(steps: float32[time]) for cpu-sample>>"
    )
    assert isinstance(loaded.net, loaded.package._runtime.CompiledMethods)
    assert not isinstance(loaded.net, loaded.package._runtime.CompiledModel)


def test_a_model_with_forward_is_a_compiled_model(beside: Loaded) -> None:
    assert isinstance(beside.net, beside.package._runtime.CompiledModel)
    assert repr(beside.net).startswith("<compiled model net(")


def test_a_model_without_forward_is_on_the_device_of_its_methods(loaded: Loaded) -> None:
    assert loaded.net.device == loaded.net.encode.device == torch.device("cpu")


def test_a_model_has_no_other_methods(loaded: Loaded) -> None:
    with pytest.raises(AttributeError):
        _ = loaded.net.score


def test_a_method_tells_its_full_name_in_errors(loaded: Loaded) -> None:
    with pytest.raises(ValueError, match=r"^net\.decode\(\): argument 'steps' .* takes 2 to 9$"):
        loaded.net.decode(torch.zeros(1))
    with pytest.raises(
        TypeError, match=r"^net\.encode\(\) is missing required argument 'image'; it takes"
    ):
        loaded.net.encode()
    assert loaded.net.encode.__name__ == "net.encode"
    assert list(inspect.signature(loaded.net.decode).parameters) == ["steps", "out"]


def test_dimensions_of_one_name_are_each_methods_own(load_package: LoadPackage) -> None:
    wide = {"batch": Dim(1, 2)}
    loaded = load_package(ENCODE, sample_manifest(method="decode", dims=wide, declared=wide))
    images = torch.zeros(3, 1, 8)
    assert loaded.net.encode(images) is images
    with pytest.raises(ValueError, match="batch is 3, the compiled model takes 1 to 2"):
        loaded.net.decode(images)


@pytest.mark.parametrize("fixture", ["loaded", "beside"])
def test_a_model_and_its_methods_are_pickled_by_import_path(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    net = request.getfixturevalue(fixture).net
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for value in (net, net.encode, net.decode):
            data = pickle.dumps(value, protocol)
            assert len(data) < 200
            assert pickle.loads(data) is value  # noqa: S301
    for value in (net, net.encode):
        assert copy.copy(value) is value
        assert copy.deepcopy([value])[0] is value


@pytest.mark.parametrize("manifests", MODELS.values(), ids=MODELS)
def test_the_module_and_the_stub_tell_the_same_signatures(
    load_package: LoadPackage, manifests: Sequence[Manifest]
) -> None:
    declared = {
        cls.name: f"({ast.unparse(call.args)}) -> {ast.unparse(call.returns or ast.Name(''))}"
        for cls in ast.parse(stub({"net": manifests})).body
        if isinstance(cls, ast.ClassDef) and not cls.name.endswith("Batched")
        for call in cls.body
        if isinstance(call, ast.FunctionDef) and call.name == "__call__" and call.returns
        if "Tensor" in ast.unparse(call.returns)  # the overload of tensors
    }
    package = load_package(*manifests).package
    assert package.net
    module = sys.modules[f"{package.__name__}._net"]
    told = {name: str(inspect.signature(getattr(module, name).__call__)) for name in declared}
    told = {
        name: text.replace("'", "").replace("object = None", "object=None")
        for name, text in told.items()
    }
    assert told == declared
    assert len(told) == len(manifests)


@pytest.mark.parametrize("manifests", MODELS.values(), ids=MODELS)
def test_the_stub_declares_every_method(manifests: Sequence[Manifest]) -> None:
    text = stub({"net": manifests})
    for manifest in manifests:
        if manifest.method != "forward":
            name = f"Net{manifest.method.title()}"
            assert f"    {manifest.method}: {name}\n" in text
            assert f"class {name}(CompiledModel):" in text
    forward = any(manifest.method == "forward" for manifest in manifests)
    assert f"class Net({'CompiledModel' if forward else 'CompiledMethods'}):" in text
    runtime = {"CompiledModel"} | (set() if forward else {"CompiledMethods"})
    assert f"from ._runtime import {', '.join(sorted(runtime))}\n" in text


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("net", "net"),
        ("net_encode", "encode"),
        ("Net", "encode"),
        ("net", "NetEncode"),
        ("net", "Path"),
        ("net", "Tensor"),
        ("net", "package"),
        ("net", "super"),
        ("super", "type"),
        ("net", "CompiledModel"),
        ("CompiledMethods", "outputs"),
        ("net", "image"),
    ],
)
@pytest.mark.parametrize("forward", [True, False], ids=["forward", "no forward"])
def test_a_method_may_have_any_name(
    load_package: LoadPackage, model: str, method: str, *, forward: bool
) -> None:
    own = [sample_manifest(model)] * forward
    loaded = load_package(*own, sample_manifest(model, method), sample_manifest(model, "other"))
    net = getattr(loaded.package, model)
    assert getattr(net, method)(IMAGES) is IMAGES
    assert net.other(IMAGES) is IMAGES
    if forward:
        assert net(IMAGES) is IMAGES


def test_the_names_of_one_method_do_not_change_those_of_the_next() -> None:
    text = model_module([sample_manifest(method=name) for name in ("a", "b", "c")])
    assert text.count("            outputs = self._run([image])\n") == 3


def test_a_method_with_a_derived_size_beside_one_with_the_size(load_package: LoadPackage) -> None:
    twice = Input("twice", "float32", [Affine("batch", 2, 0), 1, 8], [0, 1, 2])
    loaded = load_package(ENCODE, sample_manifest(method="decode", inputs=[twice]))
    assert loaded.net.decode(IMAGES) is IMAGES
    odd = torch.zeros(3, 1, 8)
    assert loaded.net.encode(odd) is odd
    with pytest.raises(ValueError, match=r"dimension 0 is 3, which is 2\*batch for no batch"):
        loaded.net.decode(odd)


def test_a_method_that_cannot_be_loaded_is_named(load_package: LoadPackage) -> None:
    loaded = load_package(ENCODE, sample_manifest(method="decode", torch=">=90.0,<91.0"))
    with pytest.raises(loaded.error, match=r"no variant of net\.decode can run on cpu"):
        _ = loaded.net


def test_a_missing_manifest_of_a_method_is_told(load_package: LoadPackage) -> None:
    loaded = load_package(
        ENCODE, DECODE, before=lambda path, _: (path / "net/decode/model.json").unlink()
    )
    with pytest.raises(loaded.error, match=r"net/decode/model\.json: the manifest cannot be read"):
        _ = loaded.net


def test_every_generated_method_names_its_source() -> None:
    text = model_module([ENCODE, DECODE])
    assert text.count("demo.network:Net, compiled ahead of time.") == 2
    assert f"{IMAGE.name}: float32 tensor of shape (batch, 1, 8)" in text
    assert "steps: float32 tensor of shape (time,)" in text
