"""Which engine runs a model, and what the native one is told; the engine itself needs a build."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import pickle
import re
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import IMAGE, TENSOR, Loaded, LoadPackage, sample_manifest, sample_variant

from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import Input, Manifest

IMAGES = torch.rand(2, 1, 8)

# In place of the extension module: calls with two images are the usual ones.
ENGINE = """
class Engine:
    made = []

    def __init__(self, library, torch):
        self.library, self.table, self.unlocked, self.calls = library, None, 0, 0
        Engine.made.append(self)

    def attach(self, torch, exchange, tensor_type, modes, samples, negated, conjugated):
        self.tensor_type = tensor_type

    def set_fallback(self, others):
        self.others = others

    def map_constants(self, file, constants):
        pass

    def run_arrays(self, arrays):
        return None

    def expect(self, table):
        self.table = table

    def constants(self):
        return []

    def set_constants(self, constants):
        pass

    def unlock(self):
        self.unlocked += 1

    def run(self, tensors):
        return ["run", *tensors]

    def call(self, *values):
        self.calls += 1
        if len(values[0]) == 3:
            raise RuntimeError("index out of bounds: 7")
        return ["call", *values] if len(values[0]) == 2 else None
"""
FIRST: dict[str, Any] = {"type": "list", "items": [{**TENSOR, "index": i} for i in (0, 1)]}


def with_engine(directory: Path, _manifests: Sequence[Manifest]) -> None:
    (directory / "_runtime" / "_engine.py").write_text(ENGINE, "utf-8")


@pytest.fixture
def load(load_package: LoadPackage) -> Callable[..., Loaded]:
    def loading(**changes: Any) -> Loaded:
        return load_package(sample_manifest(outputs=FIRST, **changes), before=with_engine)

    return loading


def made(loaded: Loaded) -> list[Any]:
    found: list[Any] = importlib.import_module(f"{loaded.package.__name__}._runtime._engine").Engine
    return list(found.made)  # type: ignore[attr-defined]


def test_the_native_engine_runs_a_usual_call(load: Callable[..., Loaded]) -> None:
    loaded = load()
    for _ in range(3):
        kind, tensor = loaded.net(IMAGES)
        assert kind == "call"
        assert tensor is IMAGES
    assert loaded.loads == []
    (engine,) = made(loaded)
    assert engine.calls == 3
    assert Path(engine.library).name == "cpu-sample.so"


def test_any_other_call_is_checked_in_python(load: Callable[..., Loaded]) -> None:
    loaded = load()
    kind, tensor = loaded.net(torch.rand(8, 1, 4).transpose(0, 2)[:4, :, :])
    assert kind == "run"
    assert tensor.is_contiguous()
    with pytest.raises(ValueError, match=r"'image'.*batch is 65"):
        loaded.net(torch.rand(65, 1, 8))


def test_a_call_that_fails_is_told_as_that_of_the_model(load: Callable[..., Loaded]) -> None:
    with pytest.raises(IndexError, match=r"net\(\): an index is outside"):
        load().net(torch.rand(3, 1, 8))


def test_what_holds_threads_at_the_end_also_holds_these(load: Callable[..., Loaded]) -> None:
    loaded = load()
    loaded.net._hold(lambda _: lambda tensors: ["held", *tensors])
    assert loaded.net(IMAGES)[0] == "held"


def test_a_forked_child_forgets_the_calls_of_its_parent(load: Callable[..., Loaded]) -> None:
    loaded = load()
    loaded.net(IMAGES)
    importlib.import_module(f"{loaded.package.__name__}._runtime.engines")._after_fork()
    assert [engine.unlocked for engine in made(loaded)] == [1]


def test_the_environment_chooses_the_engine(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AOTBUILD_ENGINE", "torch")
    loaded = load_package(before=with_engine)
    assert loaded.net(IMAGES) is IMAGES
    assert loaded.loads == ["cpu-sample.so on cpu"]


@pytest.mark.parametrize("engine", ["", "native", "torch"])
def test_an_accelerator_has_torchs_own_runner(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setenv("AOTBUILD_ENGINE", engine)
    manifest = sample_manifest(variants=[sample_variant(device="mps")])
    loaded = load_package(manifest, before=with_engine)
    loaded.use("mps")
    monkeypatch.setattr(f"{loaded.package.__name__}._runtime.model._indexed", lambda device: device)
    assert "mps-sample" in repr(loaded.net)
    assert loaded.loads == ["mps-sample.so on mps"]


def test_an_engine_that_does_not_exist(
    load: Callable[..., Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AOTBUILD_ENGINE", "fast")
    loaded = load()
    with pytest.raises(loaded.error, match="AOTBUILD_ENGINE=fast: expected native or torch"):
        _ = loaded.net


def test_a_package_without_the_engine(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_package()
    assert loaded.net(IMAGES) is IMAGES
    assert loaded.loads == ["cpu-sample.so on cpu"]
    monkeypatch.setenv("AOTBUILD_ENGINE", "native")
    with pytest.raises(loaded.error, match=r"native: net cannot use it: this Python has none"):
        loaded.package._net.Net(Path(loaded.package.__file__).parent, "net")


OTHER_ENGINES = [
    ("t", "_engine.abi3.so", "Pythons with the GIL, and this one has none"),
    ("t", "_engine.cpython-399t-x86_64-linux-gnu.so", "another Python"),
    ("", "_engine.cpython-399t-x86_64-linux-gnu.so", "another Python"),
]


@pytest.fixture(params=OTHER_ENGINES, ids=lambda param: "".join(param[:2]))
def other(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[[Path, Sequence[Manifest]], None], str]:
    """What unpacks a wheel of another Python by hand, and what is then said."""
    flags, name, others = request.param
    monkeypatch.setattr(sys, "abiflags", flags)

    def before(directory: Path, _manifests: Sequence[Manifest]) -> None:
        (directory / "_runtime" / name).write_bytes(b"of another Python")

    return before, (
        f"its engine, {name}, is for {others}; install the wheel for cp3{sys.version_info[1]}"
        f"{flags}, or build it with this Python"
    )


def test_torchs_runner_takes_the_place_of_an_engine_of_another_python(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch, other: Any
) -> None:
    before, reason = other
    loaded = load_package(before=before)
    assert loaded.net(IMAGES) is IMAGES
    assert loaded.loads == ["cpu-sample.so on cpu"]
    monkeypatch.setenv("AOTBUILD_ENGINE", "native")
    with pytest.raises(loaded.error, match=re.escape(f"native: net cannot use it: {reason}")):
        loaded.package._net.Net(Path(loaded.package.__file__).parent, "net")


def test_a_stand_alone_model_refuses_an_engine_of_another_python(
    load_package: LoadPackage, other: Any
) -> None:
    before, reason = other
    alone = sample_manifest(variants=[sample_variant(standalone=True)])
    loaded = load_package(alone, before=before)
    with pytest.raises(loaded.error, match=f"^net cannot be run: {re.escape(reason)}$"):
        _ = loaded.net


def test_an_engine_that_cannot_be_loaded(load_package: LoadPackage) -> None:
    def damaged(directory: Path, _manifests: Sequence[Manifest]) -> None:
        (directory / "_runtime" / "_engine.abi3.so").write_bytes(b"no library")

    alone = sample_manifest(variants=[sample_variant(standalone=True)])
    loaded = load_package(alone, before=damaged)
    with pytest.raises(loaded.error, match=r"its engine, _engine\.abi3\.so, cannot be loaded$"):
        _ = loaded.net


def _proxy(directory: Path, manifests: Sequence[Manifest]) -> None:
    with_engine(directory, manifests)
    (directory / "net" / "cpu-sample.json").write_text("{}", "utf-8")


@pytest.mark.parametrize(
    ("changes", "before", "reason"),
    [
        (
            {"inputs": [dataclasses.replace(IMAGE, dtype="float8_e5m2")]},
            with_engine,
            "it has tensors of dtype float8_e5m2",
        ),
        (
            {"outputs": {"type": "tuple", "items": [{**TENSOR, "dtype": "complex32"}]}},
            with_engine,
            "it has tensors of dtype complex32",
        ),
        (
            {"dims": {f"d{i}": Dim(1, 2) for i in range(64)} | {"batch": Dim(1, 64)}},
            with_engine,
            "it has more than 64 dynamic dimensions",
        ),
        ({}, _proxy, "it has operators that only torch's own runner finds"),
    ],
)
def test_what_the_native_engine_does_not_run(
    load_package: LoadPackage,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    before: Callable[[Path, Sequence[Manifest]], None],
    reason: str,
) -> None:
    manifest = sample_manifest(**changes)
    loaded = load_package(manifest, before=before)
    _ = loaded.net
    assert len(loaded.loads) == 1
    monkeypatch.setenv("AOTBUILD_ENGINE", "native")
    with pytest.raises(loaded.error, match=re.escape(f"net cannot use it: {reason}")):
        loaded.package._net.Net(Path(loaded.package.__file__).parent, "net")


def test_a_torch_that_does_not_exchange_tensors_in_c(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.Tensor, "__dlpack_c_exchange_api__")
    loaded = load_package(before=with_engine)
    assert loaded.net(IMAGES) is IMAGES
    assert loaded.loads == ["cpu-sample.so on cpu"]


def test_the_table_of_a_usual_call(load: Callable[..., Loaded]) -> None:
    inputs = [
        Input("x", "float32", ["batch", 3, "side", "side"], [0, 2, 3, 1]),
        Input("ids", "int64", [Affine("batch", 2, -1)], [0]),
        Input("flag", "bool", [], []),
    ]
    dims = {"side": Dim(8, None, 4), "batch": Dim(1, 64)}
    loaded = load(inputs=inputs, dims=dims)
    _ = loaded.net
    (engine,) = made(loaded)
    words = struct.unpack(f"={len(engine.table) // 8}q", engine.table)
    assert words == (
        *(2, 3),
        *(8, -1, 4),
        *(1, 64, 1),
        *(2, 32, 4, 1, 1, 0, -1, 1, 3, 0, 1, 0, 0, 1, 0, 0, 2, 3, 1),
        *(0, 64, 1, 1, 2, -1, 0),
        *(6, 8, 0),
    )


def test_conditions_are_for_python(load: Callable[..., Loaded]) -> None:
    loaded = load(conditions=["batch % 2 == 0"])
    _ = loaded.net
    (engine,) = made(loaded)
    loaded.net(IMAGES)
    assert engine.calls == 0


MODEL = """

class Model:
    bound = None

    def _bind(self, *told):
        self.bound = told

    def __call__(self, *args, **kwargs):
        return self._checked(*args, **kwargs)
"""
NOT_BOUND = (None, (), 0, None)


def with_model(directory: Path, _manifests: Sequence[Manifest]) -> None:
    (directory / "_runtime" / "_engine.py").write_text(ENGINE + MODEL, "utf-8")


def bound(loaded: Loaded) -> Any:
    """What the class in C is told after the first call."""
    assert loaded.net.bound is None
    loaded.net(*[IMAGES] * len(loaded.net._manifest.inputs))
    return loaded.net.bound


def test_a_usual_call_does_not_go_through_python(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest(outputs=FIRST), before=with_model)
    engine, *told = bound(loaded)
    assert [engine] == made(loaded)
    assert told == [("image",), 1, (list, (), (0, 1))]
    loaded.net._hold(lambda run: run)
    assert loaded.net.bound == NOT_BOUND


def test_a_model_is_of_its_own_class_all_the_same(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest(outputs=FIRST), before=with_model)
    assert type(loaded.net).__name__ == "Net"
    cls = loaded.package._net.Net
    assert isinstance(loaded.net, cls)
    assert type(loaded.net).__doc__ == cls.__doc__
    assert str(inspect.signature(loaded.net)).startswith("(image: ")
    assert pickle.loads(pickle.dumps(loaded.net)) is loaded.net  # noqa: S301


@pytest.mark.parametrize(
    ("outputs", "results"),
    [
        (TENSOR, 0),
        ({"type": "tuple", "items": [TENSOR, {"type": "constant", "value": None}]}, (0, None)),
        (
            {"type": "dict", "keys": ["a", 2], "items": [FIRST, TENSOR]},
            (dict, ("a", 2), ((list, (), (0, 1)), 0)),
        ),
        ({"type": "tuple", "items": [TENSOR, {"type": "int", "index": 1}]}, None),
        ({"type": "tuple", "items": [TENSOR, {"type": "constant", "value": 7}]}, None),
        ({**TENSOR, "input": 0}, None),
        ({"type": "OrderedDict", "keys": ["a"], "items": [TENSOR]}, None),
    ],
)
def test_results_that_are_made_in_c(
    load_package: LoadPackage, outputs: dict[str, Any], results: Any
) -> None:
    loaded = load_package(sample_manifest(outputs=outputs), before=with_model)
    with contextlib.suppress(AttributeError, RuntimeError):  # of what stands for an output
        loaded.net(IMAGES)
    told = loaded.net.bound
    if results is None:
        assert told == NOT_BOUND
    else:
        assert told[3] == ((tuple, (), results) if outputs["type"] == "tuple" else results)


def test_arguments_that_are_read_in_c(load_package: LoadPackage) -> None:
    inputs = [IMAGE, dataclasses.replace(IMAGE, name="mask")]
    manifest = sample_manifest(
        inputs=inputs, outputs=FIRST, kinds={"mask": inspect.Parameter.KEYWORD_ONLY.description}
    )
    loaded = load_package(manifest, before=with_model)
    loaded.net(IMAGES, mask=IMAGES)
    assert loaded.net.bound[1:3] == (("image", "mask"), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"kinds": {"image": "positional-only"}},
        {"conditions": ["batch % 2 == 0"]},
        {
            "inputs": [dataclasses.replace(IMAGE, name="images[0]")],
            "in_spec": {
                "type": "dict",
                "keys": ["images"],
                "items": [{"type": "list", "items": [{"type": "tensor", "index": 0}]}],
            },
        },
    ],
)
def test_arguments_that_are_read_in_python(
    load_package: LoadPackage, changes: dict[str, Any]
) -> None:
    loaded = load_package(sample_manifest(outputs=FIRST, **changes), before=with_model)
    loaded.net([IMAGES] if "in_spec" in changes else IMAGES)
    assert loaded.net.bound == NOT_BOUND


def test_the_other_engine_has_no_such_class(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AOTBUILD_ENGINE", "torch")
    loaded = load_package(before=with_model)
    net = loaded.net
    assert type(net) is loaded.package._net.Net
