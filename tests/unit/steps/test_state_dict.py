"""Reading weights into a module: both formats, and every way in which a file does not fit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from aotbuild.errors import WeightsError
from aotbuild.steps.export.state_dict import load_weights

PATH = "tool.aotbuild.models.net.weights"
Save = Callable[[dict[str, torch.Tensor], Path], None]


class Net(torch.nn.Module):
    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(layers))
        self.norm = torch.nn.BatchNorm1d(3)


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight


FORMATS: dict[str, Save] = {"net.safetensors": save_file, "net.pt": torch.save}


@pytest.fixture(params=FORMATS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Path]:
    """Saves a state dict in each of the formats."""
    name: str = request.param

    def save(state: Any) -> Path:
        FORMATS[name](state, tmp_path / name)
        return tmp_path / name

    return save


def refused(module: torch.nn.Module, file: Path) -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        load_weights(module, file, f"weights/{file.name}", PATH)
    error = caught.value
    assert error.where == f"pyproject.toml: {PATH}"
    assert f'"weights/{file.name}"' in error.what
    assert error.fix
    return error


def test_every_tensor_is_loaded(saved: Callable[[Any], Path]) -> None:
    torch.manual_seed(0)
    source, module = Net(), Net()
    source.norm(torch.randn(4, 3))  # so that the buffers differ from the initial ones
    load_weights(module, saved(source.state_dict()), "net", PATH)
    expected = source.state_dict()
    found = module.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_safetensors_file_needs_no_suffix(tmp_path: Path) -> None:
    source, module = Net(), Net()
    save_file(source.state_dict(), tmp_path / "net.bin")
    load_weights(module, tmp_path / "net.bin", "net", PATH)
    assert torch.equal(module.layers[0].weight, source.layers[0].weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("left", [0, 5, 20, 100, 500])
def test_a_truncated_file_is_told(saved: Callable[[Any], Path], left: int) -> None:
    file = saved(Net().state_dict())
    file.write_bytes(file.read_bytes()[:left])
    error = refused(Net(), file)
    if file.suffix == ".safetensors":
        assert "is no valid safetensors file" in error.what
        assert f"the file has {left} bytes" in error.why
    else:
        assert "cannot be read as weights" in error.what
    assert "safetensors.torch.save_file" in error.fix


JUNK = {
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "text": b"these are no weights\n" * 10,
    "zeros": bytes(300),
    "ones": b"\xff" * 300,
    "a page": b"<!DOCTYPE html><html></html>",
    "a zip": b"PK\x05\x06" + bytes(18),
    "an unfinished pickle": b"\x80\x02}q\x00(X",
    "an empty pickle": b"\x80\x02.",
    "a stack that is empty": b"\x80\x02t.",
    "JSON": b'{"weight": [1, 2]}',
    "a newline": b"\n",
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_a_file_of_another_format_is_told(tmp_path: Path, name: str, junk: bytes) -> None:
    (tmp_path / name).write_bytes(junk)
    error = refused(Net(), tmp_path / name)
    assert "is no valid safetensors file" in error.what or "cannot be read" in error.what


class Custom:
    """What only unsafe unpickling would make."""


def test_a_pickle_of_an_arbitrary_object_is_refused(tmp_path: Path) -> None:
    torch.save({"layers.0.weight": Custom()}, tmp_path / "net.pt")
    error = refused(Net(), tmp_path / "net.pt")
    assert "weights_only=True" in error.fix
    assert len(error.why.splitlines()) == 1


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(Net(), tmp_path / "net.pt")
    assert "torch.save(module.state_dict(), ...)" in refused(Net(), tmp_path / "net.pt").fix


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (
            {"model": {"w": torch.zeros(1)}, "optimizer": {"lr": 1}, "epoch": 3},
            "it holds a dict with the tables model, optimizer",
        ),
        ({}, "it holds a dict"),
        ([torch.zeros(1)], "it holds a list"),
        (torch.zeros(1), "it holds a Tensor"),
        ({"weight": torch.zeros(1), "epoch": 3}, "it holds a dict"),
    ],
)
def test_a_checkpoint_that_is_no_state_dict_is_told(tmp_path: Path, value: Any, why: str) -> None:
    torch.save(value, tmp_path / "net.pt")
    error = refused(Net(), tmp_path / "net.pt")
    assert error.what == '"weights/net.pt" holds no state dict'
    assert error.why == why
    nested = isinstance(value, dict) and "model" in value
    assert ('"weights/net.pt#model"' if nested else "module.state_dict() alone") in error.fix


def test_missing_and_unexpected_keys_are_listed(saved: Callable[[Any], Path]) -> None:
    state = Net().state_dict()
    del state["layers.1.bias"], state["norm.weight"]
    state["head.bias"] = torch.zeros(3)
    error = refused(Net(), saved(state))
    assert "does not fit the module" in error.what
    assert error.why == (
        "missing in the file (2): layers.1.bias, norm.weight\nunknown to the module (1): head.bias"
    )


def test_of_many_keys_the_first_few_are_listed(saved: Callable[[Any], Path]) -> None:
    error = refused(Net(layers=6), saved(Net().state_dict()))
    assert error.why == (
        "missing in the file (8): layers.2.bias, layers.2.weight, layers.3.bias, "
        "layers.3.weight, layers.4.bias, and 3 more"
    )


def test_a_misspelt_key_is_told_with_the_one_meant(saved: Callable[[Any], Path]) -> None:
    state = Net().state_dict()
    state["layers.0.wieght"] = state.pop("layers.0.weight")
    error = refused(Net(), saved(state))
    assert error.fix == 'layers.0.wieght: did you mean "layers.0.weight"?'


@pytest.mark.parametrize("prefix", ["model.net", "module.model", "net"])
def test_a_prefix_of_all_names_is_told_with_what_to_write(
    saved: Callable[[Any], Path], prefix: str
) -> None:
    source, module = Net(), Net()
    state = {f"{prefix}.{name}": tensor for name, tensor in source.state_dict().items()}
    file = saved({**state, "loss.weight": torch.ones(2)})
    error = refused(module, file)
    assert error.fix == f'write weights = "weights/{file.name}#{prefix}"'
    load_weights(module, file, file.name, PATH, key=prefix)
    assert torch.equal(module.norm.weight, source.norm.weight)


def test_a_prefix_that_does_not_help_alone_is_told(saved: Callable[[Any], Path]) -> None:
    state = {f"model.{name}": tensor for name, tensor in Net().state_dict().items()}
    del state["model.norm.weight"]
    assert refused(Net(), saved(state)).fix.startswith('the keys have the prefix "model."')


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_the_prefix_of_torchs_own_wrappers_is_left_out(
    saved: Callable[[Any], Path], prefix: str
) -> None:
    source, module = Net(), Net()
    state = {f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()}
    load_weights(module, saved(state), "net", PATH)
    assert torch.equal(module.layers[1].weight, source.layers[1].weight)  # type: ignore[arg-type]


def test_a_prefix_that_the_module_has_itself_stays(saved: Callable[[Any], Path]) -> None:
    class Outer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = Net()

    source, outer = Outer(), Outer()
    load_weights(outer, saved(source.state_dict()), "net", PATH)
    assert torch.equal(outer.module.norm.weight, source.module.norm.weight)


def test_weights_of_the_old_weight_norm_are_taken(saved: Callable[[Any], Path]) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        old = torch.nn.utils.weight_norm(torch.nn.Conv1d(2, 3, 5))
    new = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(2, 3, 5))
    assert "weight_g" in old.state_dict()
    load_weights(new, saved(old.state_dict()), "net", PATH)
    x = torch.randn(1, 2, 9)
    torch.testing.assert_close(new(x), old(x))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.uint8])
def test_a_count_may_have_another_dtype(saved: Callable[[Any], Path], dtype: torch.dtype) -> None:
    module, state = Net(), dict(Net().state_dict())
    state["norm.num_batches_tracked"] = torch.tensor(7, dtype=dtype)
    load_weights(module, saved(state), "net", PATH)
    assert module.norm.num_batches_tracked == 7
    assert module.norm.num_batches_tracked.dtype is torch.int64


def test_a_count_that_is_no_whole_number_is_refused(saved: Callable[[Any], Path]) -> None:
    state = {**Net().state_dict(), "norm.num_batches_tracked": torch.tensor(7.5)}
    assert "has tensors of another dtype" in refused(Net(), saved(state)).what


def test_what_old_versions_did_not_save_is_filled_in(saved: Callable[[Any], Path]) -> None:
    source, module = Net(), Net()
    state = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    load_weights(module, saved(state), "net", PATH)
    assert torch.equal(module.norm.weight, source.norm.weight)
    assert module.norm.num_batches_tracked == 0


class Renaming(torch.nn.Linear):
    """A module that was called otherwise once."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        if f"{prefix}kernel" in state_dict:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}kernel")
        super()._load_from_state_dict(state_dict, prefix, *rest)


def test_the_hooks_of_a_module_run(saved: Callable[[Any], Path]) -> None:
    source, module = Renaming(3, 4), Renaming(3, 4)
    file = saved({"kernel": source.weight.detach(), "bias": source.bias.detach()})
    load_weights(module, file, "net", PATH)
    assert torch.equal(module.weight, source.weight)


def test_what_no_hook_takes_is_listed_with_the_nearest_names(saved: Callable[[Any], Path]) -> None:
    state = Net().state_dict()
    for name in ("layers.0.weight", "layers.1.bias"):
        state[f"{name}s"] = state.pop(name)
    module = Net()
    before = module.layers[1].weight.clone()  # type: ignore[operator]
    error = refused(module, saved(state))
    assert error.fix.splitlines() == [
        'layers.0.weights: did you mean "layers.0.weight"?',
        'layers.1.biass: did you mean "layers.1.bias"?',
    ]
    assert torch.equal(module.layers[1].weight, before)  # type: ignore[arg-type]


def test_a_state_dict_may_be_under_a_key(tmp_path: Path) -> None:
    source, module = Net(), Net()
    torch.save({"model": source.state_dict(), "epoch": 3}, tmp_path / "net.pt")
    load_weights(module, tmp_path / "net.pt", "net.pt", PATH, key="model")
    assert torch.equal(module.norm.weight, source.norm.weight)
    with pytest.raises(WeightsError) as caught:
        load_weights(module, tmp_path / "net.pt", "net.pt", PATH, key="modle")
    assert caught.value.what == '"net.pt" holds no state dict under "modle"'
    assert caught.value.fix == 'did you mean "model"?'
    save_file(source.state_dict(), tmp_path / "net.safetensors")
    with pytest.raises(WeightsError, match='no state dict under "model"') as caught:
        load_weights(module, tmp_path / "net.safetensors", "net.safetensors", PATH, key="model")
    assert caught.value.fix == 'write weights = "net.safetensors"'


CHECKPOINTS: dict[str, Callable[[Any], Any]] = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "trainer.ema": lambda state: {"trainer": {"ema": state, "optimizer": {"state": {}}}},
    "state_dict.model": lambda state: {"state_dict": _under("model", state), "hparams": {"lr": 1}},
    "generator": lambda state: {
        "discriminator": {"weight": torch.zeros(1)}, "generator": state, "steps": [3]
    },
    "ema": lambda state: {"n": {0: torch.zeros(1)}, 1: {"a": 1}, "ema": _under("module", state)},
}  # fmt: skip


def _under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("key", CHECKPOINTS)
def test_the_part_of_a_checkpoint_that_fits_is_proposed(tmp_path: Path, key: str) -> None:
    source, module = Net(), Net()
    torch.save(CHECKPOINTS[key](source.state_dict()), tmp_path / "net.pt")
    error = refused(module, tmp_path / "net.pt")
    assert error.fix == f'write weights = "weights/net.pt#{key}"'
    load_weights(module, tmp_path / "net.pt", "net.pt", PATH, key=key)
    assert torch.equal(module.norm.weight, source.norm.weight)


def test_a_prefix_under_a_key_is_proposed_with_the_key(tmp_path: Path) -> None:
    torch.save({"state_dict": _under("model", Net().state_dict())}, tmp_path / "net.pt")
    with pytest.raises(WeightsError) as caught:
        load_weights(Net(), tmp_path / "net.pt", "net.pt", PATH, key="state_dict")
    assert caught.value.fix == 'write weights = "net.pt#state_dict.model"'


def test_several_parts_that_fit_are_all_proposed(tmp_path: Path) -> None:
    torch.save({"model": Net().state_dict(), "ema": Net().state_dict()}, tmp_path / "net.pt")
    fix = refused(Net(), tmp_path / "net.pt").fix
    assert fix == 'write weights = "weights/net.pt#model" or weights = "weights/net.pt#ema"'


def test_names_that_are_no_texts_are_told(tmp_path: Path) -> None:
    torch.save({0: torch.zeros(1)}, tmp_path / "net.pt")
    assert refused(Net(), tmp_path / "net.pt").why == "it holds a dict"


def test_an_object_that_is_no_data_is_told_by_its_class(tmp_path: Path) -> None:
    torch.save({"model": Net().state_dict(), "args": Custom()}, tmp_path / "net.pt")
    why = refused(Net(), tmp_path / "net.pt").why
    assert "Custom" in why
    assert "add_safe_globals" not in why


class Part(torch.nn.Module):
    """A module with a part inside of another one, as torch.compile and DataParallel make them."""

    def __init__(self, wrapper: str = "") -> None:
        super().__init__()
        inner: torch.nn.Module = torch.nn.Linear(3, 3)
        if wrapper:
            outer = torch.nn.Module()
            outer.add_module(wrapper, inner)
            inner = outer
        self.part = inner


@pytest.mark.parametrize(("of_file", "of_module"), [
    ("_orig_mod", ""), ("module", ""), ("", "_orig_mod"), ("", "module"), ("module", "_orig_mod"),
])  # fmt: skip
def test_a_wrapper_inside_of_the_module_is_left_out(
    saved: Callable[[Any], Path], of_file: str, of_module: str
) -> None:
    source, module = Part(of_file), Part(of_module)
    load_weights(module, saved(source.state_dict()), "net", PATH)
    loaded, expected = module.state_dict().values(), source.state_dict().values()
    assert all(torch.equal(*pair) for pair in zip(loaded, expected, strict=True))


def test_an_average_of_models_is_taken(saved: Callable[[Any], Path]) -> None:
    source, module = torch.optim.swa_utils.AveragedModel(Net()), Net()
    load_weights(module, saved(source.state_dict()), "net", PATH)
    assert torch.equal(module.norm.weight, source.module.state_dict()["norm.weight"])


class Versioned(torch.nn.Linear):
    """A module whose tensors meant something else before its version 2."""

    _version = 2

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any
    ) -> None:
        if local_metadata.get("version", 0) < 2:
            state_dict[f"{prefix}bias"] = state_dict[f"{prefix}bias"] + 1
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


@pytest.mark.parametrize("layers", [0, 1])
def test_the_version_of_a_module_is_known_without_its_wrapper(tmp_path: Path, layers: int) -> None:
    source, module = (
        torch.nn.Sequential(Versioned(3, 3)) if layers else Versioned(3, 3) for _ in range(2)
    )
    torch.save(torch.nn.DataParallel(source).state_dict(), tmp_path / "net.pt")
    load_weights(module, tmp_path / "net.pt", "net", PATH)
    for name, tensor in source.state_dict().items():
        assert torch.equal(module.state_dict()[name], tensor)


class Resizing(torch.nn.Module):
    """A module whose table of positions takes one of another length."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(1, 2, length))
        self.register_load_state_dict_pre_hook(self._resize)  # type: ignore[no-untyped-call]

    @staticmethod
    def _resize(module: Any, state: Any, prefix: str, *rest: Any) -> None:
        del rest
        length = module.table.shape[-1]
        state[f"{prefix}table"] = torch.nn.functional.interpolate(state[f"{prefix}table"], length)


def test_a_shape_that_a_hook_changes_is_taken(saved: Callable[[Any], Path]) -> None:
    source, module = Resizing(8), Resizing(4)
    load_weights(module, saved(source.state_dict()), "net", PATH)
    assert torch.equal(module.table, source.table[..., ::2])


def test_a_number_of_one_dimension_is_taken_for_one_without(saved: Callable[[Any], Path]) -> None:
    module = torch.nn.Module()
    module.register_buffer("scale", torch.tensor(1.0))
    load_weights(module, saved({"scale": torch.tensor([3.0])}), "net", PATH)
    assert module.scale == 3


class Refusing(torch.nn.Linear):
    def _load_from_state_dict(self, *args: Any) -> None:
        raise KeyError(args[1])


def test_what_loading_raises_is_told(saved: Callable[[Any], Path]) -> None:
    error = refused(Refusing(3, 3), saved(torch.nn.Linear(3, 3).state_dict()))
    assert error.what.startswith("the module does not take")
    assert error.why.startswith("KeyError")


def test_other_shapes_are_listed(saved: Callable[[Any], Path]) -> None:
    state = Net().state_dict()
    state["layers.0.weight"] = torch.zeros(4, 3)
    state["norm.num_batches_tracked"] = torch.zeros(2, dtype=torch.int64)
    error = refused(Net(), saved(state))
    assert "has tensors of another shape" in error.what
    assert error.why == (
        "other shapes (2): layers.0.weight: (4, 3) in the file, (3, 3) in the module\n"
        "  norm.num_batches_tracked: (2,) in the file, () in the module"
    )


def test_a_file_that_does_not_fit_changes_nothing(saved: Callable[[Any], Path]) -> None:
    module = Net()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = Net().state_dict()
    state["layers.0.weight"] = torch.zeros(4, 3)
    refused(module, saved(state))
    assert all(torch.equal(before[k], tensor) for k, tensor in module.state_dict().items())


def test_tied_weights_may_be_stored_once(tmp_path: Path) -> None:
    source, module = Tied(), Tied()
    weight = source.embedding.weight.detach()
    for name in ("embedding.weight", "head.weight"):
        save_file({name: weight}, tmp_path / "net.safetensors")
        with torch.no_grad():
            module.embedding.weight.zero_()
        load_weights(module, tmp_path / "net.safetensors", "net", PATH)
        assert torch.equal(module.embedding.weight, weight)
        assert module.head.weight is module.embedding.weight


def test_tied_weights_may_be_stored_twice(tmp_path: Path) -> None:
    source, module = Tied(), Tied()
    torch.save(source.state_dict(), tmp_path / "net.pt")
    load_weights(module, tmp_path / "net.pt", "net", PATH)
    assert torch.equal(module.head.weight, source.head.weight)


def test_tied_weights_that_are_stored_nowhere_are_missing(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(1)}, tmp_path / "net.safetensors")
    error = refused(Tied(), tmp_path / "net.safetensors")
    assert "missing in the file (2): embedding.weight, head.weight" in error.why


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    error = refused(Net(), tmp_path / "net.pt")
    assert error.what == 'the weights file "weights/net.pt" does not exist'


def test_a_lazy_module_takes_its_shapes_from_the_file(tmp_path: Path) -> None:
    save_file(torch.nn.Linear(3, 4).state_dict(), tmp_path / "net.safetensors")
    module = torch.nn.LazyLinear(4)
    load_weights(module, tmp_path / "net.safetensors", "net", PATH)
    assert module.weight.shape == (4, 3)


class WithExtraState(torch.nn.Linear):
    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.version = state["version"]


def test_a_state_dict_may_hold_extra_state(tmp_path: Path) -> None:
    source, module = WithExtraState(3, 4), WithExtraState(3, 4)
    torch.save(source.state_dict(), tmp_path / "net.pt")
    load_weights(module, tmp_path / "net.pt", "net", PATH)
    assert torch.equal(module.weight, source.weight)


def test_a_dtype_that_the_module_does_not_have_is_refused(saved: Callable[[Any], Path]) -> None:
    state = Net().state_dict()
    half = {n: t.half() if t.is_floating_point() else t for n, t in state.items()}
    error = refused(Net(), saved(half))
    assert error.what.endswith("has tensors of another dtype")
    assert "layers.0.weight: float16 in the file, float32 in the module" in error.why
    assert 'dtype = "float16"' in error.fix


def test_weights_may_have_the_dtype_that_the_model_is_cast_to(saved: Callable[[Any], Path]) -> None:
    module = torch.nn.Linear(3, 3)
    file = saved({name: tensor.bfloat16() for name, tensor in module.state_dict().items()})
    load_weights(module, file, file.name, PATH, "bfloat16")
    with pytest.raises(WeightsError, match="another dtype"):
        load_weights(module, file, file.name, PATH, "float16")


def test_integers_are_no_weights_of_a_layer(saved: Callable[[Any], Path]) -> None:
    state = {"weight": torch.ones(3, 3, dtype=torch.int64), "bias": torch.zeros(3)}
    error = refused(torch.nn.Linear(3, 3), saved(state))
    assert "weight: int64 in the file, float32 in the module" in error.why
    assert error.fix == "save the weights in the dtype of the module"
