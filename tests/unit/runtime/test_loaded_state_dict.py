"""The state dict of a loaded model: read, replaced and merged into, with an exact report."""

from __future__ import annotations

import importlib
import math
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from samples import Loaded, LoadPackage, assert_waits, sample_manifest, sample_variant

from aotbuild.runtime.manifest import Constant, Parameter

IMAGES = torch.zeros(2, 1, 8)

TENSORS = {
    "weight": torch.arange(12.0).reshape(3, 4),
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "steps": torch.tensor([4, 5]),
    "wide": torch.tensor([1.0, 2.0]).expand(3, 2),
}
STATE = [
    Parameter("weight", "float32", [3, 4], "weight"),
    Parameter("tied", "float32", [3, 4], "weight"),
    Parameter("transposed", "float32", [3, 2], "transposed"),
    Parameter("steps", "int64", [2], "steps"),
    Parameter("wide", "float32", [3, 2], "wide"),
    Parameter("norm.num_batches_tracked", "int64", [], "norm.num_batches_tracked"),
]
NEW = {
    "weight": torch.full((3, 4), 7.0),
    "transposed": torch.full((3, 2), 8.0),
    "steps": torch.tensor([9, 9]),
    "wide": torch.tensor([5.0, 6.0]).expand(3, 2),
}


@pytest.fixture
def loaded(load_package: LoadPackage) -> Loaded:
    return load_package(sample_manifest(state=STATE), tensors=TENSORS)


def refused(call: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(ValueError, match=r"^") as caught:
        call(*args, **kwargs)
    assert type(caught.value).__name__ == "StateDictError"
    return str(caught.value)


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(found[name], tensor) for name, tensor in expected.items())


# ---- Reading


def test_the_state_dict_has_the_names_of_the_module(loaded: Loaded) -> None:
    state = loaded.net.state_dict()
    assert list(state) == ["weight", "tied", "transposed", "steps", "wide"]
    assert state["tied"] is state["weight"]
    assert equal(state, TENSORS)
    assert state["transposed"].stride() == (1, 3)


def test_changing_what_was_read_does_not_change_the_model(loaded: Loaded) -> None:
    loaded.net.state_dict()["weight"].fill_(5)
    assert equal(loaded.net.state_dict(), TENSORS)
    assert equal(loaded.constants, TENSORS)
    loaded.net.load_state_dict(NEW)
    loaded.net.state_dict()["weight"].fill_(5)
    assert equal(loaded.net.state_dict(), NEW)
    assert equal(loaded.constants, NEW)


# ---- Replacing


def test_all_of_it_is_replaced(loaded: Loaded) -> None:
    assert loaded.net.load_state_dict(NEW) == ([], [])
    assert equal(loaded.constants, NEW)
    assert equal(loaded.net.state_dict(), NEW)
    assert loaded.constants["transposed"].stride() == (1, 3)


def test_a_state_dict_that_was_read_can_be_loaded(loaded: Loaded) -> None:
    before = loaded.net.state_dict()
    loaded.net.load_state_dict(NEW)
    loaded.net.load_state_dict(before)
    assert equal(loaded.constants, TENSORS)


def test_what_is_given_is_copied(loaded: Loaded) -> None:
    given = {name: tensor.clone() for name, tensor in NEW.items()}
    loaded.net.load_state_dict(given)
    given["weight"].fill_(0)
    assert equal(loaded.constants, NEW)


def test_tensors_are_handed_over_only_once(loaded: Loaded) -> None:
    # The library keeps whatever it is handed, so that each further time would cost memory.
    _ = loaded.net
    loaded.net.load_state_dict(NEW)
    assert len(loaded.handed) == 2
    first = loaded.constants["weight"]
    loaded.net.load_state_dict({name: tensor * 2 for name, tensor in NEW.items()})
    assert len(loaded.handed) == 2
    assert loaded.constants["weight"] is first
    assert torch.equal(first, NEW["weight"] * 2)


def test_the_weights_file_is_not_written_to(loaded: Loaded) -> None:
    path = loaded.net._package / "weights.safetensors"
    before = path.read_bytes()
    loaded.net.load_state_dict(NEW)
    loaded.net.merge({"weight": torch.ones(3, 4)})
    assert path.read_bytes() == before


def test_methods_share_what_is_replaced(load_package: LoadPackage) -> None:
    methods = [sample_manifest(method=method, state=STATE) for method in ("encode", "decode")]
    loaded = load_package(*methods, tensors=TENSORS)
    loaded.net.encode.load_state_dict(NEW)
    assert equal(loaded.net.decode.state_dict(), NEW)
    assert equal(loaded.net.state_dict(), NEW)
    assert len(loaded.handed) == 4
    assert loaded.handed[2]["weight"] is loaded.handed[3]["weight"]


def test_a_device_that_is_used_later_gets_what_was_loaded(load_package: LoadPackage) -> None:
    variants = [sample_variant(), sample_variant(target="meta-sample", device="meta")]
    loaded = load_package(sample_manifest(state=STATE, variants=variants), tensors=TENSORS)
    loaded.use("meta")
    loaded.net.load_state_dict(NEW)
    loaded.net(IMAGES.to("meta"))
    assert {tensor.device.type for tensor in loaded.handed[-1].values()} == {"meta"}
    loaded.net.load_state_dict(NEW)
    assert len(loaded.handed) == 3


def test_a_tied_tensor_may_be_given_by_either_name(loaded: Loaded) -> None:
    given = {**NEW, "tied": NEW["weight"].clone()}
    assert loaded.net.load_state_dict(given) == ([], [])
    del given["weight"]
    assert loaded.net.load_state_dict(given) == ([], [])
    assert "tied: is tied to weight, found another value" in refused(
        loaded.net.load_state_dict, {**NEW, "tied": torch.zeros(3, 4)}
    )


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_the_prefix_of_torchs_own_wrappers_is_left_out(loaded: Loaded, prefix: str) -> None:
    given = {f"{prefix}{name}": tensor for name, tensor in NEW.items()}
    assert loaded.net.load_state_dict(given) == ([], [])
    assert equal(loaded.constants, NEW)


def test_whole_numbers_may_have_another_dtype(loaded: Loaded) -> None:
    loaded.net.load_state_dict({**NEW, "steps": torch.tensor([3, 4], dtype=torch.int32)})
    assert loaded.constants["steps"].tolist() == [3, 4]
    assert loaded.constants["steps"].dtype is torch.int64


def test_the_names_of_the_old_weight_norm_are_known() -> None:
    from aotbuild.runtime.checkpoint import as_named

    names = ["conv.bias", "conv.parametrizations.weight.original0"]
    names.append("conv.parametrizations.weight.original1")
    old = {"conv.bias": 0, "conv.weight_g": 1, "conv.weight_v": 2}
    assert as_named(old, names) == dict(zip(names, range(3), strict=True))
    assert as_named(old, old) == old
    assert as_named({"weight_g": 1}, ["parametrizations.weight.original0"]) == {
        "parametrizations.weight.original0": 1
    }


def test_names_may_begin_with_a_key(loaded: Loaded, tmp_path: Path) -> None:
    given = {f"net.{name}": tensor.contiguous() for name, tensor in NEW.items()}
    save_file({**given, "loss.weight": torch.ones(1)}, tmp_path / "net.safetensors")
    loaded.net.load_state_dict(f"{tmp_path / 'net.safetensors'}#net")
    assert equal(loaded.constants, NEW)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_wrappers_inside_of_names_are_left_out(wrapper: str) -> None:
    from aotbuild.runtime.checkpoint import as_named

    plain = {"encoder.0.weight": 1, "head.bias": 2}
    wrapped = {f"encoder.{wrapper}0.weight": 1, "head.bias": 2}
    assert as_named(wrapped, plain) == plain
    assert as_named(plain, wrapped) == wrapped
    both = {"a.weight": 1, f"a.{wrapper}weight": 2}
    assert as_named(both, both) == both
    assert as_named(both, ["a.weight"]) == both  # which one is meant is not known


def test_the_count_of_an_average_is_left_out() -> None:
    from aotbuild.runtime.checkpoint import as_named

    assert as_named({"n_averaged": 3, "module.weight": 1}, ["weight"]) == {"weight": 1}
    other = {"n_averaged": 3, "weight": 1}
    assert as_named(other, ["weight"]) == other


def test_a_state_dict_may_be_under_a_key(loaded: Loaded, tmp_path: Path) -> None:
    torch.save({"model": NEW, "epoch": 3}, tmp_path / "net.pt")
    loaded.net.load_state_dict(f"{tmp_path / 'net.pt'}#model")
    assert equal(loaded.constants, NEW)
    torch.save({"trainer": {"ema": NEW}}, tmp_path / "deep.pt")
    loaded.net.load_state_dict({**NEW, "steps": torch.tensor([1, 2])})
    loaded.net.load_state_dict(f"{tmp_path / 'deep.pt'}#trainer.ema")
    assert equal(loaded.constants, NEW)
    told = refused(loaded.net.load_state_dict, f"{tmp_path / 'net.pt'}#modle")
    assert 'holds no state dict under "modle", but model, epoch' in told


def test_what_nothing_uses_may_be_given_or_not(loaded: Loaded) -> None:
    given = {**NEW, "norm.num_batches_tracked": torch.tensor(3)}
    assert loaded.net.load_state_dict(given) == ([], [])
    assert "norm.num_batches_tracked: has shape (1,), expected ()" in refused(
        loaded.net.load_state_dict, {**NEW, "norm.num_batches_tracked": torch.tensor([3])}
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"weight": None}, "  wrong: weight: is a NoneType, expected a tensor"),
        ({"weight": torch.zeros(4, 3)}, "  wrong: weight: has shape (4, 3), expected (3, 4)"),
        (
            {"weight": torch.zeros(3, 4).half()},
            "  wrong: weight: has dtype float16, expected float32; convert it: .to(torch.float32)",
        ),
        ({"steps": torch.full((2,), 0.5)}, "  wrong: steps: has dtype float32, expected int64"),
        ({"module.weight": torch.zeros(3, 4)}, "  unexpected: module.weight"),
        (
            {"wide": torch.arange(6.0).reshape(3, 2)},
            "  wrong: wide: its elements share memory in the model, found different values",
        ),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_replaced(
    loaded: Loaded, given: dict[str, Any], told: str
) -> None:
    message = refused(loaded.net.load_state_dict, {**NEW, **given})
    assert message.startswith("the given dict does not fit net:\n")
    assert told in message
    assert equal(loaded.constants, TENSORS)
    assert len(loaded.handed) == 1


def test_what_is_missing_is_told(loaded: Loaded) -> None:
    message = refused(loaded.net.load_state_dict, {"weight": NEW["weight"], "more": IMAGES})
    assert message.splitlines()[1:] == [
        "  missing: transposed",
        "  missing: steps",
        "  missing: wide",
        "  unexpected: more",
    ]


def test_a_part_can_be_replaced(loaded: Loaded) -> None:
    found = loaded.net.load_state_dict({"weight": NEW["weight"], "more": IMAGES}, strict=False)
    assert found.missing_keys == ["transposed", "steps", "wide"]
    assert found.unexpected_keys == ["more"]
    assert equal(loaded.constants, {**TENSORS, "weight": NEW["weight"]})
    assert "expected (3, 4)" in refused(
        loaded.net.load_state_dict, {"weight": torch.zeros(1)}, strict=False
    )


def test_many_that_are_wrong_are_counted(loaded: Loaded) -> None:
    given = {f"layer{i}.weight": torch.zeros(1) for i in range(20)}
    lines = refused(loaded.net.load_state_dict, {**NEW, **given}).splitlines()
    assert lines[-2:] == ["  unexpected: layer7.weight", "  and 12 more"]


def test_a_state_dict_is_a_dict_or_a_file(loaded: Loaded) -> None:
    with pytest.raises(TypeError, match="expected a state dict or the path of a file, got list"):
        loaded.net.load_state_dict([1])


@pytest.mark.parametrize("name", ["new.safetensors", "new.pt", "old.pt"])
def test_a_file_is_read(loaded: Loaded, tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    state = {key: tensor.contiguous() for key, tensor in NEW.items()}
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file, _use_new_zipfile_serialization=name == "new.pt")
    loaded.net.load_state_dict(file)
    assert equal(loaded.constants, NEW)
    loaded.net.load_state_dict(str(file))


def test_the_weights_file_of_a_package_is_read_without_its_padding(loaded: Loaded) -> None:
    # What is not contiguous lies flat in it.
    message = refused(loaded.net.load_state_dict, loaded.net._package / "weights.safetensors")
    assert "transposed: has shape (6,)" in message
    assert "__pad__" not in message


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("no.safetensors", None, "cannot be read (No such file or directory)"),
        ("empty.safetensors", b"", "cannot be read as a state dict (cannot mmap an empty file)"),
        ("short.safetensors", b"\xff" * 7, "truncated, or not a safetensors file"),
        ("long.safetensors", b"\xff" * 20, "truncated, or not a safetensors file"),
        ("text.safetensors", b"\x05" + bytes(7) + b"hello", "cannot be read as a state dict"),
        ("no.pt", None, "cannot be read (No such file or directory)"),
        ("text.pt", b"hello", "cannot be read as a state dict"),
        ("zip.pt", b"PK\x03\x04 hello", "cannot be read as a state dict"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    loaded: Loaded, tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    message = refused(loaded.net.load_state_dict, tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: ")
    assert told in message


def test_a_truncated_file_is_named_with_the_tensor(loaded: Loaded, tmp_path: Path) -> None:
    file = tmp_path / "new.safetensors"
    save_file({"weight": torch.zeros(3, 4), "z": torch.zeros(9)}, file)
    file.write_bytes(file.read_bytes()[:-8])
    assert "truncated: z is not in it" in refused(loaded.net.load_state_dict, file)


def test_a_file_of_code_is_not_run(loaded: Loaded, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"weight": Evil()}, tmp_path / "evil.pt")
    assert "cannot be read as a state dict" in refused(
        loaded.net.load_state_dict, tmp_path / "evil.pt"
    )
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    assert "holds a list, not a state dict" in refused(
        loaded.net.load_state_dict, tmp_path / "list.pt"
    )
    assert not (tmp_path / "touched").exists()


def test_what_was_folded_cannot_be_replaced(load_package: LoadPackage) -> None:
    state = [*STATE, Parameter("conv.weight", "float32", [2], "conv.weight")]
    variant = sample_variant(folded=["conv.weight"])
    loaded = load_package(sample_manifest(state=state, variants=[variant]), tensors=TENSORS)
    given = {**NEW, "conv.weight": torch.ones(2)}
    for call in (
        lambda: loaded.net.load_state_dict(given),
        lambda: loaded.net.merge({"conv.weight": torch.ones(2)}),
        loaded.net.state_dict,
    ):
        message = refused(call)
        assert message.startswith("net: the parameter conv.weight is not in the package")
        assert "swappable = true" in message
    assert "missing: conv.weight" in refused(loaded.net.load_state_dict, NEW)
    # The others still can.
    loaded.net.load_state_dict(NEW, strict=False)
    assert equal(loaded.constants, NEW)


# ---- What is computed from parameters

FC = Parameter("fc.weight", "float32", [2, 3], "fc.weight")
SCALE = Parameter("scale", "float32", [3], "scale")
PACKED = {"op": "aten.t.default", "args": [{"tensor": "fc.weight"}]}
SCALED = {"op": "aten.mul.Tensor", "args": [{"tensor": "fc.weight"}, {"tensor": "scale"}]}
OLD_FC, NEW_FC = torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3) * -3
OLD_SCALE, NEW_SCALE = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 6.0, 7.0])


def computing(load_package: LoadPackage, *, scaled: bool, kept: bool = False) -> Loaded:
    """A model that only has a transposed weight, or a scaled one, beside the usual tensors."""
    recipe, made = (SCALED, OLD_FC * OLD_SCALE) if scaled else (PACKED, OLD_FC.t().contiguous())
    originals = {"fc.weight": OLD_FC, "scale": OLD_SCALE} if kept else {}
    tensors = {**TENSORS, "computed:fc": made, **originals}
    named = [Constant(**{**CONSTANT, "name": name}) for name in originals]
    variant = sample_variant(derived={"computed:fc": recipe})
    state = [*STATE, FC, *([SCALE] if scaled else [])]
    return load_package(
        sample_manifest(state=state, variants=[variant], kept=named), tensors=tensors
    )


CONSTANT: dict[str, Any] = {
    "name": "",
    "fqn": "",
    "tensor": "",
    "dtype": "float32",
    "shape": [],
    "stride": [],
    "offset": 0,
    "size": 0,
}


def test_what_is_computed_is_computed_anew(load_package: LoadPackage) -> None:
    loaded = computing(load_package, scaled=True)
    given = {**NEW, "fc.weight": NEW_FC, "scale": NEW_SCALE}
    assert "missing: fc.weight" in refused(loaded.net.load_state_dict, NEW)
    for factor in (1, 2):
        assert loaded.net.load_state_dict({**given, "scale": NEW_SCALE * factor}) == ([], [])
        assert torch.equal(loaded.constants["computed:fc"], NEW_FC * NEW_SCALE * factor)
        assert equal(loaded.constants, NEW)


def test_a_part_of_what_is_computed_with_cannot_be_replaced(load_package: LoadPackage) -> None:
    loaded = computing(load_package, scaled=True)
    for call in (
        lambda: loaded.net.load_state_dict({**NEW, "scale": NEW_SCALE}, strict=False),
        lambda: loaded.net.merge({"fc.weight": torch.ones(2, 3)}),
        loaded.net.state_dict,
    ):
        message = refused(call)
        assert message.startswith("net: the parameter fc.weight is not in the package, only what")
        assert "swappable = true" in message
        assert "a whole state dict can be loaded without it" in message
    assert equal(loaded.constants, TENSORS)


def test_what_was_only_moved_is_there_all_the_same(load_package: LoadPackage) -> None:
    loaded = computing(load_package, scaled=False)
    assert torch.equal(loaded.net.state_dict()["fc.weight"], OLD_FC)
    loaded.net.merge({"fc.weight": torch.ones(2, 3)})
    assert torch.equal(loaded.constants["computed:fc"], (OLD_FC + 1).t())
    assert torch.equal(loaded.net.state_dict()["fc.weight"], OLD_FC + 1)
    loaded.net.load_state_dict({"fc.weight": NEW_FC}, strict=False)
    assert torch.equal(loaded.constants["computed:fc"], NEW_FC.t())
    assert torch.equal(loaded.net.state_dict()["fc.weight"], NEW_FC)


def test_what_is_kept_can_be_replaced_one_by_one(load_package: LoadPackage) -> None:
    loaded = computing(load_package, scaled=True, kept=True)
    assert equal(loaded.net.state_dict(), {"fc.weight": OLD_FC, "scale": OLD_SCALE})
    loaded.net.load_state_dict({"scale": NEW_SCALE}, strict=False)
    assert torch.equal(loaded.constants["computed:fc"], OLD_FC * NEW_SCALE)
    loaded.net.merge({"fc.weight": torch.ones(2, 3)})
    assert torch.equal(loaded.constants["computed:fc"], (OLD_FC + 1) * NEW_SCALE)
    assert equal(loaded.net.state_dict(), {"fc.weight": OLD_FC + 1, "scale": NEW_SCALE})


# ---- Merging


def test_differences_are_added(loaded: Loaded) -> None:
    loaded.net.merge({"weight": torch.ones(3, 4)}, 0.5)
    assert torch.equal(loaded.constants["weight"], TENSORS["weight"] + 0.5)
    loaded.net.merge({"tied": torch.ones(3, 4)}, -0.5)
    assert equal(loaded.constants, TENSORS)


def test_an_adapter_of_low_rank_is_merged(loaded: Loaded) -> None:
    down, up = torch.rand(2, 4), torch.rand(3, 2)
    expected = TENSORS["weight"] + 2 * (up @ down)
    loaded.net.merge({"weight": (up, down)}, 2)
    assert torch.allclose(loaded.constants["weight"], expected)


def test_an_adapter_file_is_merged(load_package: LoadPackage, tmp_path: Path) -> None:
    state = [Parameter("proj.weight", "float32", [3, 4], "proj.weight")]
    weight = torch.arange(12.0).reshape(3, 4)
    loaded = load_package(sample_manifest(state=state), tensors={"proj.weight": weight})
    down, up = torch.rand(2, 4), torch.rand(3, 2)
    names = ("base_model.model.proj.lora_A.weight", "base_model.model.proj.lora_B.weight")
    save_file(dict(zip(names, (down, up), strict=True)), tmp_path / "adapter.safetensors")
    loaded.net.merge(tmp_path / "adapter.safetensors", scale=0.25)
    assert torch.allclose(loaded.constants["proj.weight"], weight + 0.25 * (up @ down))


@pytest.mark.parametrize(
    ("delta", "told"),
    [
        ({"more": torch.ones(1)}, "wrong: more: is unknown to the model"),
        ({"weight": torch.ones(4, 3)}, "wrong: weight: has shape (4, 3), expected (3, 4)"),
        ({"weight": (torch.ones(3, 2), torch.ones(3, 4))}, "mat1 and mat2 shapes cannot"),
        ({"weight": "much"}, "wrong: weight: expected a tensor, or a pair (B, A) of tensors"),
        ({"steps": torch.ones(2)}, "wrong: steps: has dtype int64, to which nothing can be added"),
        ({"weight": torch.ones(3, 4) * 1j}, "weight: has dtype complex64, expected real numbers"),
        ({"weight": np.full((3, 4), "1")}, "wrong: weight: expected a tensor, or a pair"),
        ({"weight": np.full((3, 4), 1, object)}, "wrong: weight: expected a tensor, or a pair"),
        ({"x.lora_A.weight": IMAGES}, "x.lora_A.weight: there is no x.lora_B.weight beside it"),
        ({"x.lora_B.weight": IMAGES}, "x.lora_B.weight: there is no x.lora_A.weight beside it"),
    ],
)
def test_differences_that_do_not_fit_are_told_and_nothing_is_changed(
    loaded: Loaded, delta: dict[str, Any], told: str
) -> None:
    message = refused(loaded.net.merge, {"transposed": torch.ones(3, 2), **delta})
    assert message.startswith("the given dict cannot be merged into net:\n")
    assert told in message
    assert equal(loaded.constants, TENSORS)


@pytest.mark.parametrize("key", [1, None, b"weight", ("weight",)], ids=repr)
def test_a_key_that_is_no_name_is_told_and_nothing_is_changed(loaded: Loaded, key: Any) -> None:
    given = {**loaded.net.state_dict(), key: torch.ones(1)}
    kind = type(key).__name__
    for call in (
        loaded.net.load_state_dict,
        partial(loaded.net.load_state_dict, strict=False),
        loaded.net.merge,
    ):
        assert refused(call, given) == (
            "the given dict does not fit net:\n"
            f"  wrong: {key!r}: is a key of type {kind}, expected a name, a str"
        )
    assert equal(loaded.constants, TENSORS)


@pytest.mark.parametrize("scale", [1j, [2], torch.ones(()), np.ones(2), "x", None, True], ids=repr)
def test_a_factor_that_is_no_real_number_is_refused(loaded: Loaded, scale: Any) -> None:
    kind = type(scale).__name__
    with pytest.raises(TypeError, match=rf"^merge\(\): scale must be a real number, got {kind}$"):
        loaded.net.merge({"weight": torch.ones(3, 4)}, scale)
    assert equal(loaded.constants, TENSORS)


@pytest.mark.parametrize("scale", [math.inf, math.nan, np.float32("-inf"), 10**400], ids=str)
def test_a_factor_that_is_not_finite_is_refused(loaded: Loaded, scale: Any) -> None:
    with pytest.raises(ValueError, match=r"^merge\(\): scale must be a finite number, got -?\w+$"):
        loaded.net.merge({"weight": torch.ones(3, 4)}, scale)
    assert equal(loaded.constants, TENSORS)


def test_numbers_of_numpy_and_fractions_are_factors(loaded: Loaded) -> None:
    for scale in (np.float32(0.25), np.int64(1), Fraction(-5, 4)):
        loaded.net.merge({"weight": torch.ones(3, 4)}, scale)
    assert equal(loaded.constants, TENSORS)


def test_a_difference_to_what_nothing_uses_changes_nothing(loaded: Loaded) -> None:
    loaded.net.merge({"norm.num_batches_tracked": torch.tensor(1)})
    assert equal(loaded.constants, TENSORS)


# ---- While calls go on


def test_no_call_runs_while_tensors_are_replaced(load_package: LoadPackage) -> None:
    started, go_on = threading.Event(), threading.Event()
    seen: list[float] = []

    def compute(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        started.set()
        go_on.wait(10)
        seen.append(float(package.constants["weight"][0, 0]))
        return tensors

    package = load_package(sample_manifest(state=STATE), tensors=TENSORS, compute=compute)
    net = package.net
    call = threading.Thread(target=net, args=(IMAGES,))
    call.start()
    started.wait(10)
    swap = assert_waits(net.load_state_dict, NEW)
    go_on.set()
    call.join(10)
    swap.join(10)
    net(IMAGES)
    assert seen == [0.0, 7.0]


@pytest.mark.parametrize("early", [True, False])
def test_weights_can_be_read_ahead(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, *, early: bool
) -> None:
    monkeypatch.setenv("AOTBUILD_PREFETCH", "1" if early else "0")
    read: list[Any] = []
    weights = importlib.import_module(f"{loaded.package.__name__}._runtime.weights")
    monkeypatch.setattr(weights.WeightsFile, "prefetch", lambda _, found: read.append(found))
    net = loaded.net
    assert len(read) == early
    net.prefetch()
    assert [constant.fqn for constant in read[-1]] == list(TENSORS)


def test_reading_ahead_is_no_more_than_that(loaded: Loaded) -> None:
    loaded.net.prefetch()
    assert equal(loaded.net.state_dict(), TENSORS)
