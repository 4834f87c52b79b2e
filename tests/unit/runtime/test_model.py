"""Loading: what is checked before a library is opened, and what a model is to Python."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from samples import FEATURES, IMAGE, Loaded, LoadPackage, sample_manifest, sample_variant

from aotbuild.runtime.dims import Dim
from aotbuild.runtime.engines import ALONE, ENGINES, CpuEngine, cpu_features
from aotbuild.runtime.errors import ModelLoadError
from aotbuild.runtime.integrity import check_file, identify
from aotbuild.runtime.loader import in_range
from aotbuild.runtime.manifest import Input, Manifest, _digest

Break = Callable[[Path, Sequence[Manifest]], None]
IMAGES = torch.zeros(2, 1, 8)


def refused(loaded: Loaded) -> str:
    """The error with which the model cannot be imported."""
    with pytest.raises(loaded.error) as caught:
        _ = loaded.net
    assert isinstance(caught.value, ImportError)
    assert loaded.loads == [] or "constants" in str(caught.value)
    return str(caught.value)


def rewriting(change: Callable[[dict[str, Any]], object], *, signed: bool = True) -> Break:
    """Changes the table in model.json, with the digest that belongs to it or the one before."""

    def rewrite(directory: Path, _: Sequence[Manifest]) -> None:
        path = directory / "net" / "model.json"
        table = json.loads(path.read_text())
        change(table)
        if signed:
            table.pop("digest")
            table["digest"] = _digest(table)
        path.write_text(json.dumps(table))

    return rewrite


def replacing(name: str, content: bytes | None) -> Break:
    """Replaces or removes a file of the package."""

    def replace(directory: Path, _: Sequence[Manifest]) -> None:
        if content is None:
            (directory / name).unlink()
        else:
            (directory / name).write_bytes(content)

    return replace


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    manifest = sample_manifest(
        inputs=[IMAGE, Input("x", "bool", [], [])],
        dims={"batch": Dim(0, None)},
        variants=[sample_variant(compiled={"options": {"a": [1]}}), sample_variant(device="cuda")],
        conditions=["batch != 3"],
    )
    path = tmp_path / "model.json"
    path.write_text(manifest.to_json(), "utf-8")
    assert Manifest.read(path) == manifest
    assert next(iter(json.loads(path.read_text()))) == "format"


BROKEN: dict[str, tuple[Break, list[str]]] = {
    "no manifest": (replacing("net/model.json", None), ["model.json: the manifest cannot be read"]),
    "empty manifest": (replacing("net/model.json", b""), ["the manifest cannot be read"]),
    "half a manifest": (replacing("net/model.json", b'{"format": 1, '), ["cannot be read"]),
    "manifest of another kind": (replacing("net/model.json", b"[1]"), ["cannot be read"]),
    "manifest of no text": (replacing("net/model.json", b"\xff\xfe"), ["cannot be read"]),
    "manifest without a format": (
        rewriting(lambda table: table.pop("format")),
        ["the manifest cannot be read"],
    ),
    "manifest of another format": (
        rewriting(lambda table: table.update(format=2)),
        ["manifest format 2, this runtime reads 1"],
    ),
    "manifest without inputs": (
        rewriting(lambda table: table.pop("inputs")),
        ["the manifest is damaged"],
    ),
    "manifest with another key": (
        rewriting(lambda table: table.update(more=1)),
        ["the manifest is damaged"],
    ),
    "manifest with a wrong type": (
        rewriting(lambda table: table.update(dims=[])),
        ["the manifest is damaged"],
    ),
    "manifest that was edited": (
        rewriting(lambda table: table["dims"]["batch"].update(max=65), signed=False),
        ["the manifest was changed after the build"],
    ),
    "manifest without its digest": (
        rewriting(lambda table: table.pop("digest"), signed=False),
        ["the manifest was changed after the build"],
    ),
    "no library": (replacing("net/cpu-sample.so", None), ["cpu-sample.so is missing"]),
    "library of another size": (
        replacing("net/cpu-sample.so", b"short"),
        ["cpu-sample.so has 5 bytes instead of 28"],
    ),
    "no weights": (
        replacing("weights.safetensors", None),
        ["weights.safetensors is missing"],
    ),
    "empty weights": (
        replacing("weights.safetensors", b""),
        ["weights.safetensors has 0 bytes instead of "],
    ),
    "weights of another size": (
        replacing("weights.safetensors", bytes(100)),
        ["weights.safetensors has 100 bytes instead of "],
    ),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_broken_package_is_told(load_package: LoadPackage, case: tuple[Break, list[str]]) -> None:
    before, told = case
    loaded = load_package(before=before, tensors={"weight": torch.ones(3)})
    with pytest.raises(loaded.error) as caught:
        _ = loaded.net
    for text in [*told, "install the package again"]:
        assert text in str(caught.value)


def _editing(old: bytes, new: bytes) -> Break:
    def edit(directory: Path, _: Sequence[Manifest]) -> None:
        path = directory / "_net.py"
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return edit


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (replacing("_net.py", None), "No module named 'sample_models._net'"),
        (replacing("_net.py", b""), "has no attribute 'net'"),
        (replacing("_net.py", b"class Net(:"), "invalid syntax"),
        (_editing(b"(CompiledModel)", b"(CompiledMobel)"), "name 'CompiledMobel' is not defined"),
        (_editing(b"64", b"65"), "_net.py is not the file that was built"),
    ],
)
def test_a_broken_module_is_told(load_package: LoadPackage, before: Break, told: str) -> None:
    with pytest.raises(ImportError, match=re.escape(told)) as caught:
        _ = load_package(before=before).net
    assert "install the package again" in str(caught.value)


@pytest.mark.parametrize("name", ["../other.so", "/tmp/other.so", "net/../../x.so", "C:\\x.so"])
def test_a_manifest_names_no_file_outside_its_package(load_package: LoadPackage, name: str) -> None:
    outside = rewriting(lambda table: table["variants"][0]["library"].update(file=name))
    message = refused(load_package(before=outside))
    assert f"the manifest names {name!r}, outside the package" in message


@pytest.mark.parametrize(("size", "at"), [(1000, 500), (5 << 20, 0), (5 << 20, (5 << 20) - 1)])
def test_a_flipped_bit_is_found(tmp_path: Path, size: int, at: int) -> None:
    path = tmp_path / "file"
    content = bytearray(size)
    path.write_bytes(content)
    known = identify(path, "file")
    check_file(tmp_path, known)
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelLoadError, match="file is not the file that was built; install"):
        check_file(tmp_path, known)


def test_all_of_a_large_file_is_read_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    content = bytearray(32 << 20)
    path.write_bytes(content)
    known = identify(path, "file")
    content[300_000] = 1  # between the blocks of the quick digest
    path.write_bytes(content)
    check_file(tmp_path, known)
    monkeypatch.setenv("AOTBUILD_VERIFY", "full")
    with pytest.raises(ModelLoadError, match="file is not the file that was built"):
        check_file(tmp_path, known)


def test_a_torch_without_a_symbol_is_told_before_the_library_is_opened(
    load_package: LoadPackage,
) -> None:
    variant = sample_variant(symbols={"aoti_torch_get_size": "", "aoti_torch_not_yet": ""})
    message = refused(load_package(sample_manifest(variants=[variant])))
    assert f"cpu-sample: this torch {torch.__version__} lacks aoti_torch_not_yet\n" in message


def test_weights_packed_for_another_onednn_are_told(load_package: LoadPackage) -> None:
    variant = sample_variant(onednn="1.0.7")
    message = refused(load_package(sample_manifest(variants=[variant])))
    assert "cpu-sample: its weights are packed for oneDNN 1.0.7, this torch has " in message


def test_a_library_for_another_platform_is_told(load_package: LoadPackage) -> None:
    variant = sample_variant(platform="linux-riscv64")
    message = refused(load_package(sample_manifest(variants=[variant])))
    assert "cpu-sample: it was built for linux-riscv64, this is " in message


@pytest.mark.parametrize("names", [{"weight"}, {"weight", "bias", "more"}, {"weight", "other"}])
def test_a_library_with_other_constants_is_never_run(
    load_package: LoadPackage, names: set[str]
) -> None:
    loaded = load_package(tensors={"weight": torch.ones(3), "bias": torch.ones(1)})
    loaded.names = names
    assert "its constants are not those of the manifest; install the package again" in refused(
        loaded
    )


def test_the_constants_are_handed_over_from_the_weights_file(load_package: LoadPackage) -> None:
    tensors = {"weight": torch.randn(3, 4).t(), "bias": torch.randn(4)}
    loaded = load_package(tensors=tensors)
    assert loaded.net(IMAGES) is IMAGES
    assert set(loaded.constants) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(loaded.constants[name], tensor)
        assert loaded.constants[name].stride() == tensor.stride()


@pytest.mark.parametrize(
    ("allowed", "reason"),
    [(">=2.0,<2.1", "it needs torch>=2.0,<2.1, this is torch"), (">=90.0,<90.1", "torch>=90.0")],
)
def test_another_torch_is_refused_before_the_library_is_opened(
    load_package: LoadPackage, allowed: str, reason: str
) -> None:
    message = refused(load_package(sample_manifest(torch=allowed)))
    assert message.startswith("no variant of net can run on cpu:\n  cpu-sample: ")
    assert reason in message
    assert message.endswith(
        "Install the matching torch, use another machine, or build the package for this one"
    )


@pytest.mark.parametrize(
    ("version", "inside"),
    [
        ("2.13.0", True),
        ("2.13.0+cpu", True),
        ("2.13.7+cu130", True),
        ("2.13.0a0+git1234", True),
        ("2.13.0.dev20260101", True),
        ("2.12.9", False),
        ("2.14.0", False),
        ("2.14.0.dev20260801+cpu", False),
        ("2.9.1", False),
        ("2.130.0", False),
        ("3.13.0", False),
        ("1.13.0", False),
    ],
)
def test_versions_of_torch_are_compared_as_numbers(*, version: str, inside: bool) -> None:
    assert in_range(version, ">=2.13,<2.14") is inside
    assert in_range(version, ">=2.13.0.dev0,<2.14") is inside


@pytest.mark.parametrize(
    ("version", "allowed", "inside"),
    [
        ("2.13.0", "==2.13.0", True),
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.0+cpu", "==2.13.0+cpu", True),
        ("2.13.0+cu130", "==2.13.0+cpu", False),
        ("2.13.0", "==2.13.0+cpu", False),
        ("2.13.1", "==2.13.0", False),
        ("2.14.2+cpu", ">=2.13", True),
        ("3.0.0", ">=2.13", True),
        ("2.12.9", ">=2.13", False),
    ],
)
def test_other_policies_allow_one_version_or_all_later_ones(
    *, version: str, allowed: str, inside: bool
) -> None:
    assert in_range(version, allowed) is inside


def test_a_cpu_that_lacks_a_feature_is_told_before_the_library_is_opened(
    load_package: LoadPackage,
) -> None:
    loaded = load_package()
    loaded.cpu_has("avx")
    message = refused(loaded)
    assert "no variant of net can run on cpu:" in message
    assert "cpu-sample: this CPU lacks avx2, fma3\n" in message


def test_the_first_variant_that_fits_is_taken(load_package: LoadPackage) -> None:
    def variant(target: str, *requires: str) -> Any:
        library = f"net/{target}.so"
        return sample_variant(target=target, library=library, requires=list(requires))

    variants = [variant("cpu-v4", *FEATURES, "avx512_f"), variant("cpu-v3", *FEATURES)]
    loaded = load_package(sample_manifest(variants=variants))
    assert loaded.net(IMAGES) is IMAGES
    assert loaded.loads == ["cpu-v3.so on cpu"]


def levels() -> list[Any]:
    return [
        sample_variant(target="cpu-v4", library="net/v4.so", requires=[*FEATURES, "avx512_f"]),
        sample_variant(target="cpu-v3", library="net/v3.so"),
    ]


def test_the_target_that_runs_can_be_asked(
    load_package: LoadPackage, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load_package(sample_manifest(variants=levels()))
    with caplog.at_level("DEBUG"):
        assert loaded.net.target == "cpu-v3"
    assert caplog.messages == [
        "net as compiled for cpu-v4 does not fit: this CPU lacks avx512_f",
        "net runs as compiled for cpu-v3",
    ]


def test_a_level_can_be_forced(load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_package(sample_manifest(variants=levels()))
    loaded.cpu_has(*FEATURES, "avx512_f")
    monkeypatch.setenv("AOTBUILD_CPU_LEVEL", "v3")
    assert loaded.net.target == "cpu-v3"
    assert loaded.loads == ["v3.so on cpu"]


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("v4", "AOTBUILD_CPU_LEVEL=v4: net cannot run as compiled for it: this CPU lacks avx512_f"),
        ("v5", "AOTBUILD_CPU_LEVEL=v5: net was compiled for v4, v3; set it to one of these, or"),
    ],
)
def test_a_level_that_cannot_be_forced_is_told(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch, level: str, said: str
) -> None:
    loaded = load_package(sample_manifest(variants=levels()))
    monkeypatch.setenv("AOTBUILD_CPU_LEVEL", level)
    assert refused(loaded).startswith(said)


def test_every_variant_is_listed_with_the_reason_against_it(load_package: LoadPackage) -> None:
    variants = [
        sample_variant(),
        sample_variant(target="cpu-v4", library="net/v4.so", requires=["avx512_f"]),
        sample_variant(device="cuda"),
    ]
    loaded = load_package(sample_manifest(variants=variants))
    loaded.use("cuda", present=False)
    loaded.cpu_has("avx", "avx2")
    message = refused(loaded)
    assert "cpu-sample: this CPU lacks fma3\n" in message
    assert "cpu-v4: this CPU lacks avx512_f\n" in message
    assert "cuda-sample: there is no cuda device, or this torch does not support it\n" in message


def test_without_any_present_device_every_variant_is_listed(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest(variants=[sample_variant(device="cuda")]))
    loaded.use("cuda", present=False)
    message = refused(loaded)
    assert message.startswith("no variant of net can run here:\n  cuda-sample: there is no cuda")


@pytest.mark.parametrize("wanted", ["cuda", "abacus", "cpu cuda", "3", "CPU"])
def test_a_wrong_choice_of_device_is_told(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    loaded = load_package()
    monkeypatch.setenv("AOTBUILD_DEVICE", wanted)
    assert refused(loaded) == (
        f"AOTBUILD_DEVICE={wanted}: net was compiled for cpu; set it to one of these, or unset it"
    )


@pytest.mark.parametrize("wanted", ["cpu", "", "cpu:0"])
def test_a_chosen_device_is_loaded_first_and_once(
    load_package: LoadPackage, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    loaded = load_package()
    monkeypatch.setenv("AOTBUILD_DEVICE", wanted)
    assert loaded.net.device == IMAGES.device
    assert loaded.net(IMAGES) is IMAGES
    assert loaded.loads == ["cpu-sample.so on cpu"]


@pytest.fixture
def two_devices(load_package: LoadPackage) -> Loaded:
    """A model for two devices; ``meta`` stands for an accelerator."""
    loaded = load_package(
        sample_manifest(variants=[sample_variant(), sample_variant(device="meta")])
    )
    others = dict(loaded.engine.ENGINES)
    loaded.engine.ENGINES.clear()
    loaded.use("meta")
    loaded.engine.ENGINES.update(others)
    return loaded


def test_an_accelerator_is_preferred_and_the_rest_loaded_when_needed(two_devices: Loaded) -> None:
    assert two_devices.net.device.type == "meta"
    assert two_devices.loads == ["meta-sample.so on meta"]
    assert two_devices.net(IMAGES) is IMAGES
    assert two_devices.loads == ["meta-sample.so on meta", "cpu-sample.so on cpu"]


def test_the_choice_of_device_beats_the_preference(
    two_devices: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AOTBUILD_DEVICE", "cpu")
    assert two_devices.net.device.type == "cpu"
    assert two_devices.loads == ["cpu-sample.so on cpu"]


def test_a_model_follows_its_first_tensor(two_devices: Loaded) -> None:
    for device in ("cpu", "meta", "cpu"):
        # A meta tensor has no memory, and takes the slow path.
        assert two_devices.net(IMAGES.to(device)).device.type == device
    assert len(two_devices.loads) == 2


def test_many_threads_load_a_variant_once(two_devices: Loaded) -> None:
    net, count = two_devices.net, 16
    barrier = threading.Barrier(count)

    def call(_: int) -> bool:
        barrier.wait()
        return net(IMAGES) is IMAGES

    with ThreadPoolExecutor(count) as pool:
        assert all(pool.map(call, range(count)))
    assert two_devices.loads == ["meta-sample.so on meta", "cpu-sample.so on cpu"]


def test_a_model_that_failed_to_load_can_be_tried_again(load_package: LoadPackage) -> None:
    loaded = load_package()
    loaded.cpu_has()
    refused(loaded)
    loaded.cpu_has(*FEATURES)
    assert loaded.net(IMAGES) is IMAGES


def test_importing_the_package_loads_nothing(load_package: LoadPackage) -> None:
    loaded = load_package(sample_manifest("net"), sample_manifest("other"))
    assert loaded.loads == []
    _ = loaded.net
    assert loaded.loads == ["cpu-sample.so on cpu"]


def test_the_models_of_a_package_share_the_weights_file(load_package: LoadPackage) -> None:
    tensors = {"weight": torch.ones(3)}
    loaded = load_package(sample_manifest("net"), sample_manifest("other"), tensors=tensors)
    _ = loaded.net
    first = loaded.constants["weight"]
    _ = loaded.package.other
    assert loaded.constants["weight"].data_ptr() == first.data_ptr()


def test_a_model_is_pickled_by_its_import_path(load_package: LoadPackage) -> None:
    net = load_package().net
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(net, protocol)
        assert len(data) < 100
        assert pickle.loads(data) is net  # noqa: S301


def test_a_copy_of_a_model_is_the_model(load_package: LoadPackage) -> None:
    net = load_package().net
    assert copy.copy(net) is net
    assert copy.deepcopy({"models": [net]})["models"][0] is net


def test_a_model_shows_its_inputs_and_targets(load_package: LoadPackage) -> None:
    assert repr(load_package().net) == (
        "<compiled model net(image: float32[batch, 1, 8]) for cpu-sample>"
    )


def test_a_model_has_the_signature_of_forward(load_package: LoadPackage) -> None:
    other = dataclasses.replace(IMAGE, name="other")
    kinds = {"other": "keyword-only"}
    net = load_package(sample_manifest(kinds=kinds, inputs=[IMAGE, other])).net
    signature = inspect.signature(net)
    assert list(signature.parameters) == ["image", "other", "out"]
    assert signature.parameters["image"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert signature.parameters["other"].kind is inspect.Parameter.KEYWORD_ONLY
    assert signature.return_annotation == "Tensor"
    assert net.__name__ == "net"
    assert callable(net)


def test_an_error_of_the_compiled_code_is_passed_on(load_package: LoadPackage) -> None:
    def fail(_: list[torch.Tensor]) -> list[torch.Tensor]:
        raise TypeError("from inside")

    with pytest.raises(TypeError, match=r"^from inside$"):
        load_package(compute=fail).net(IMAGES)


def test_the_engines_are_one_table() -> None:
    assert list(ENGINES) == ["cuda", "xpu", "mps", "cpu"]
    runners = [engine.runner for engine in ENGINES.values()]
    assert runners == [f"AOTIModelContainerRunner{name}" for name in ("Cuda", "Xpu", "Mps", "Cpu")]
    assert all(isinstance(engine.present(), bool) for engine in ENGINES.values())
    assert CpuEngine.present()


def test_a_file_that_is_no_library_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_bytes(b"no library at all")
    with pytest.raises(ModelLoadError, match=r"broken\.so: cannot be loaded: "):
        CpuEngine(tmp_path / "broken.so", "cpu", ALONE)


def test_without_the_list_of_features_the_level_of_the_cpu_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for level, expected in (("DEFAULT", ["avx2"]), ("AVX2", []), ("AVX512", [])):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda level=level: level)
        assert CpuEngine.missing(["avx2"]) == expected
    assert set(cpu_features()) >= {"avx", "avx2", "bmi", "bmi2", "f16c", "fma3", "lzcnt"}
