"""Compiled models in what torch traces: fake tensors, torch.compile and torch.export."""

from __future__ import annotations

import importlib
import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest
import torch
from samples import IMAGE, Loaded, LoadPackage, sample_manifest
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from aotbuild.runtime import tracing
from aotbuild.runtime.manifest import Input
from aotbuild.runtime.traced_operator import operator_name

IMAGES = torch.randn(3, 1, 8)


@pytest.fixture
def loaded(load_package: LoadPackage) -> Loaded:
    """A model that doubles images, and tells their number."""
    return load_package(
        sample_manifest(
            outputs={
                "type": "dict",
                "keys": ["doubled", "count", "name"],
                "items": [
                    {"type": "tensor", "index": 0, "dtype": "float32", "shape": ["batch", 1, 8]},
                    {"type": "tensor", "index": 1, "dtype": "int64", "shape": ["2*batch + 1"]},
                    {"type": "constant", "value": "x"},
                ],
            }
        ),
        compute=lambda given: [given[0] * 2, torch.zeros(len(given[0]) * 2 + 1).long()],
    )


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_model_is_one_operator_of_a_compiled_graph(loaded: Loaded, backend: str) -> None:
    net = loaded.net
    torch._dynamo.reset()
    graphs: list[str] = []

    def record(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(graph.code)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    compiled = torch.compile(lambda x: net(x + 1)["doubled"] - 1, fullgraph=True, backend=record)
    for count in (3, 5, 9):
        images = torch.randn(count, 1, 8)
        assert torch.equal(compiled(images), (images + 1) * 2 - 1)
    assert "aotbuild_models.sample__models_net" in graphs[0]
    with pytest.raises(ValueError, match="batch is 65, the compiled model takes 1 to 64"):
        compiled(torch.randn(65, 1, 8))


def test_a_result_keeps_its_structure_when_compiled(loaded: Loaded) -> None:
    torch._dynamo.reset()
    net = loaded.net
    found = torch.compile(lambda x: net(image=x), fullgraph=True, backend="eager")(IMAGES)
    assert list(found) == ["doubled", "count", "name"]
    assert found["name"] == "x"
    assert found["count"].shape == (7,)


def test_gradients_do_not_pass_through_a_model(loaded: Loaded) -> None:
    torch._dynamo.reset()
    net = loaded.net
    scale = torch.ones(8, requires_grad=True)
    images = IMAGES.clone().requires_grad_()
    compiled = torch.compile(
        lambda x, s: (net(x)["doubled"] * s).sum(), fullgraph=True, backend="aot_eager"
    )
    compiled(images, scale).backward()
    assert images.grad is None
    assert scale.grad is not None


@pytest.mark.parametrize("strict", [False, True])
def test_a_model_is_exported_with_its_dynamic_sizes(loaded: Loaded, *, strict: bool) -> None:
    torch._dynamo.reset()
    net = loaded.net

    class Around(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return net(x)["doubled"] + 1

    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(Around(), (IMAGES,), dynamic_shapes=({0: batch},), strict=strict)
    targets = [str(node.target) for node in program.graph.nodes]
    assert any("aotbuild_models.sample__models_net" in target for target in targets)
    images = torch.randn(7, 1, 8)
    assert torch.equal(program.module()(images), images * 2 + 1)


def test_a_call_with_fake_tensors_gives_fake_tensors(loaded: Loaded) -> None:
    with FakeTensorMode():
        found = loaded.net(torch.empty(4, 1, 8))
    assert type(found["doubled"]).__name__ == "FakeTensor"
    assert found["doubled"].shape == (4, 1, 8)
    assert found["count"].shape == (9,)
    assert loaded.received == []


def test_what_a_call_would_refuse_is_refused_in_a_trace(loaded: Loaded) -> None:
    with FakeTensorMode():
        for wrong, error, message in (
            (torch.empty(4, 8), ValueError, r"must be float32\[batch, 1, 8\], got 2 dimensions"),
            (torch.empty(4, 1, 8).double(), TypeError, r"must be float32\[batch, 1, 8\]"),
            (torch.empty(4, 2, 8), RuntimeError, r"must be float32\[batch, 1, 8\]"),
        ):
            with pytest.raises(error, match=message):
                loaded.net(wrong)


def test_a_recorded_call_is_one_node(loaded: Loaded) -> None:
    record: Any = make_fx  # which has no types
    graph = record(lambda x: loaded.net(x)["doubled"], tracing_mode="symbolic")(IMAGES)
    assert "aotbuild_models.sample__models_net" in graph.code
    assert torch.equal(graph(torch.ones(5, 1, 8)), torch.full((5, 1, 8), 2.0))


def test_results_of_the_operator_are_none_of_its_inputs(load_package: LoadPackage) -> None:
    net = load_package(compute=list).net  # gives its input
    torch._dynamo.reset()
    images = IMAGES.clone()
    compiled: Any = torch.compile(net, fullgraph=True, backend="aot_eager")
    found = compiled(images)
    assert torch.equal(found, images)
    assert found.data_ptr() != images.data_ptr()


def test_a_number_stands_for_a_tensor_without_dimensions(load_package: LoadPackage) -> None:
    factor = Input("factor", "float32", [], [])
    loaded = load_package(
        sample_manifest(inputs=[IMAGE, factor]), compute=lambda given: [given[0] * given[1]]
    )
    torch._dynamo.reset()
    net = loaded.net
    compiled = torch.compile(lambda x: net(x, 3.0), fullgraph=True, backend="eager")
    assert torch.equal(compiled(IMAGES), IMAGES * 3)


def test_each_model_has_an_operator_of_its_own() -> None:
    names = [
        operator_name("digits.models._net", "net"),
        operator_name("digits.models._net", "net.encode"),
        operator_name("digits_models._net", "net"),
        operator_name("digits.models_net._net", "net"),
    ]
    assert names[0] == "digits_models_net"
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_loading_a_model_does_not_import_the_tracer() -> None:
    code = "import sys, torch, aotbuild.runtime.tracing\nassert 'torch._dynamo' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_packages_that_wait_for_the_tracer_do_not_ask_one_another_for_ever(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = importlib.import_module(f"{loaded.package.__name__}._runtime.tracing")
    finders = [tracing._watch, other._watch, *sys.meta_path]
    monkeypatch.setattr(sys, "meta_path", finders)
    spec = tracing._watch.find_spec("torch._dynamo", torch.__path__)
    assert spec.name == "torch._dynamo"
    assert sys.meta_path == finders
    assert tracing._watch.find_spec("torch._inductor", torch.__path__) is None


# ---- As a module of torch


def test_a_module_calls_the_model(loaded: Loaded) -> None:
    module = loaded.net.module()
    assert isinstance(module, torch.nn.Module)
    assert torch.equal(module.eval().to("cpu")(IMAGES)["doubled"], IMAGES * 2)
    assert module.device == torch.device("cpu")
    assert repr(loaded.net) in repr(module)
    again = pickle.loads(pickle.dumps(module))  # noqa: S301
    assert again.model is loaded.net
    around = torch.nn.Sequential(module)
    assert torch.equal(around(IMAGES)["doubled"], IMAGES * 2)


def test_a_module_has_the_state_dict_of_the_model(load_package: LoadPackage) -> None:
    from aotbuild.runtime.manifest import Parameter

    loaded = load_package(
        sample_manifest(state=[Parameter("weight", "float32", [3], "weight")]),
        tensors={"weight": torch.ones(3)},
    )
    around = torch.nn.Sequential(loaded.net.module(), torch.nn.Linear(2, 2))
    state = around.state_dict()
    assert list(state) == ["0.weight", "1.weight", "1.bias"]
    around.load_state_dict({**state, "0.weight": torch.zeros(3)})
    assert torch.equal(loaded.net.state_dict()["weight"], torch.zeros(3))
    with pytest.raises(RuntimeError, match=r"0\.weight"):
        around.load_state_dict({name: state[name] for name in ("1.weight", "1.bias")})
    with pytest.raises(RuntimeError, match=r"weight: has shape \(4,\), expected \(3,\)"):
        around.load_state_dict({**state, "0.weight": torch.zeros(4)})


@pytest.mark.parametrize("name", ["eval", "to", "parameters", "train", "cuda", "half"])
def test_what_only_modules_have_is_told(loaded: Loaded, name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(loaded.net, name)
    assert str(caught.value) == (
        f"net is compiled, and no torch.nn.Module: it has no attribute {name!r}. "
        "net.module() is a module that calls it"
    )
    assert not hasattr(loaded.net, name)
    assert name not in dir(loaded.net)  # nor does completion offer it
    assert callable(getattr(loaded.net.module(), name))


def test_a_model_is_called_and_not_its_forward(loaded: Loaded) -> None:
    with pytest.raises(AttributeError, match=r"Call it as it is: net\(\.\.\.\)$"):
        loaded.net.forward(None)
    assert {"inputs", "module", "pool", "state_dict", "__call__"} <= set(dir(loaded.net))


def test_the_names_that_only_modules_have_are_those_of_torch(loaded: Loaded) -> None:
    names = importlib.import_module(f"{loaded.package.__name__}._runtime.not_a_module").NAMES
    own = {*dir(torch.nn.Module), "training"}
    assert set(names) <= own
    assert not set(names) & set(vars(type(loaded.net)))
    assert inspect.signature(loaded.net).parameters.keys() == {"image", "out"}
