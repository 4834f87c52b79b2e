"""What a compiled variant depends on, and what a build tells that does not find it in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aotbuild.cache.history import key_of
from aotbuild.runtime.dims import Dim
from aotbuild.runtime.manifest import Constant
from aotbuild.steps import identity
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.facts import Facts
from aotbuild.steps.artifacts.spec import CompileSpec, Tools, spec_text
from aotbuild.steps.compile import key
from aotbuild.steps.compile.variant_cache import FILES, CacheSlot, restored
from aotbuild.steps.tune.pins import decided
from aotbuild.target import TARGETS

V3, V4 = "cpu-x86-64-v3", "cpu-x86-64-v4"
NODE = {"target": "torch.ops.aten.relu.default", "metadata": {"stack_trace": "net.py, line 3"}}
DIM = {"min": 1, "max": 64, "multiple_of": 1}
SPEC = CompileSpec(
    model="net",
    method="forward",
    target=V3,
    project="/home/somebody/digits",
    import_paths=[],
    package="digits.models",
    options={},
    recipe="passes",
    exported="models/net/cpu/forward",
    output="models/net/out",
    tools=Tools(aotbuild="0", torch="2"),
)
RECORD = BuildRecord(
    target=V3,
    dims={"batch": Dim(1, 64)},
    conditions=[],
    example={"batch": 4},
    shared={"fc_weight": "fc.weight"},
    constants=[],
    folded=[],
    symbols={},
    onednn="",
    proxy_nodes=False,
    derived={},
    compiled={},
)
OWN = Constant("c", "computed:fc.weight", "c", "float32", [4], [1], 0, 16)


@pytest.fixture(autouse=True)
def no_variables_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is set, not by torch itself either, as it does in a process that compiles."""
    for name in list(os.environ):
        if name.startswith(identity.TORCH_VARIABLES):
            monkeypatch.delenv(name)


class Build:
    """A step compile, of which only what is around Inductor is real."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.spec = SPEC
        self.record = RECORD
        self.warnings = ""
        """What the last run warned of."""
        self._capsys = capsys
        self._exported = directory / SPEC.exported
        self._output = directory / SPEC.output
        self._exported.mkdir(parents=True)
        Facts(program="").write(self._exported)
        self.graph([NODE])
        self.call = {"dims": {"batch": DIM}, "inputs": [], "in_spec": {}, "outputs": {}}
        self.call |= {
            "conditions": [],
            "example": {"batch": 4},
            "op_libraries": [],
            "exceptions": [],
            "changed": [],
            "buffers": [],
            "adds": {},
            "about": "",
            "doc": "",
        }
        self.tensors = {"fc.weight": _tensor("fc.weight", [10, 64], 0)}
        self.state = ["fc.weight"]
        self.values = bytes(4 * 640 + 64)

    def graph(self, nodes: list[dict[str, Any]], **more: bytes) -> None:
        """Write another program."""
        with zipfile.ZipFile(self._exported / "program.pt2", "w") as archive:
            archive.writestr("archive/models/model.json", json.dumps({"nodes": nodes}))
            archive.writestr("archive/.data/serialization_id", str(nodes))
            for name, data in more.items():
                archive.writestr(name, data)

    def change(self, **fields: Any) -> None:
        """Change the specification."""
        self.spec = dataclasses.replace(self.spec, **fields)

    def write(self) -> Path:
        """Write what the step reads; the file of its specification."""
        (self._exported / "call.json").write_text(json.dumps(self.call))
        index = {
            "tensors": self.tensors,
            "names": {"forward": {f"model.{name}": name for name in self.tensors}},
            "state": [{"key": name} for name in self.state],
            "digest": hashlib.sha256(self.values).hexdigest(),
        }
        (self._exported.parent / "weights.json").write_text(json.dumps(index))
        (self._exported.parent / "weights.safetensors").write_bytes(self.values)
        path = Path("compile.json")
        path.write_text(spec_text(self.spec))
        return path

    def run(self) -> str:
        """Run the step, from a clean tree; what it says."""
        shutil.rmtree(self._output, ignore_errors=True)
        self._output.mkdir(parents=True)
        if not restored(self.write()):
            self._compile()
        said = self._capsys.readouterr()
        self.warnings = said.err
        return said.out.strip().removeprefix("aotbuild: cache: ")

    def _compile(self) -> None:
        slot = CacheSlot.of(decided(self.spec))
        for name in ("library.so", "weights.safetensors"):
            (self._output / name).write_bytes(name.encode())
        self.record.write(self._output)
        slot.put(self._output, computed=bool(self.record.constants))

    @property
    def files(self) -> set[str]:
        """What the step wrote."""
        return {path.name for path in self._output.iterdir()}


def _tensor(name: str, shape: list[int], offset: int, dtype: str = "float32") -> dict[str, Any]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    size = 4
    for each in shape:
        size *= each
    return {
        "name": name, "fqn": name, "tensor": name, "dtype": dtype, "shape": shape,
        "stride": strides[: len(shape)], "offset": offset, "size": size, "packed": "",
    }  # fmt: skip


@pytest.fixture
def build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Build:
    monkeypatch.setenv("AOTBUILD_CACHE", "readwrite")
    monkeypatch.setenv("AOTBUILD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("AOTBUILD_EXPLAIN", "1")
    directory = tmp_path / "build"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return Build(directory, capsys)


HIT = f"net for {V3} was compiled before"


def compiled(reason: str, target: str = V3) -> str:
    return f"net for {target} is compiled: {reason}"


def test_the_first_build_and_the_next(build: Build) -> None:
    assert build.run() == compiled("it has not been built before with this cache")
    assert build.run() == HIT
    assert build.files == {*FILES, "compiled.json.d"} - {"library.json"}
    assert (Path(SPEC.output) / "library.so").read_text() == "library.so"


def test_hits_are_told_only_if_asked_for(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AOTBUILD_EXPLAIN", "0")
    assert build.run() == compiled("it has not been built before with this cache")
    assert build.run() == ""


Patch = pytest.MonkeyPatch


def _program(build: Build, _: Patch) -> None:
    build.graph([NODE, NODE])


def _inputs(build: Build, _: Patch) -> None:
    build.call["example"] = {"batch": 8}


def _shapes(build: Build, _: Patch) -> None:
    build.tensors["fc.weight"] = _tensor("fc.weight", [12, 64], 0)


def _options(build: Build, _: Patch) -> None:
    build.change(options={"epilogue_fusion": False})


def _field(build: Build, _: Patch) -> None:
    build.change(strict_dims=True)


def _recipe(build: Build, _: Patch) -> None:
    build.change(recipe="frozen", options={"freezing": True}, passes=[])


def _level(build: Build, _: Patch) -> None:
    build.change(target=V4)


def _target(_: Build, patch: Patch) -> None:
    other = dataclasses.replace(TARGETS[V3], march="x86-64-v3 -mavxvnni")
    patch.setattr(key, "TARGETS", {V3: other})


def _torch(_: Build, patch: Patch) -> None:
    patch.setattr(key, "torch_identity", lambda: {"version": "2.14.0", "build": "f" * 64})


def _compiler(_: Build, patch: Patch) -> None:
    patch.setattr(identity, "compiler_version", lambda _: "g++ 99")


def _aotbuild(_: Build, patch: Patch) -> None:
    patch.setattr(key, "aotbuild_identity", lambda: {"version": "9.9", "code": "f" * 64})


def _environment(_: Build, patch: Patch) -> None:
    patch.setenv("CPATH", "/opt/include")


def _removed(_: Build, __: Patch) -> None:
    shutil.rmtree("../cache/compiled")


def _damaged(_: Build, __: Patch) -> None:
    (entry,) = Path("../cache/compiled").glob("*/*")
    entry.write_bytes(entry.read_bytes()[:-1])


def _off(_: Build, patch: Patch) -> None:
    patch.setenv("AOTBUILD_CACHE", "off")


def _several(build: Build, patch: Patch) -> None:
    _options(build, patch)
    _program(build, patch)


PROGRAM = "the exported program changed"
SHAPES = "the names or shapes of the weights changed"
CASES: dict[str, tuple[Callable[[Build, Patch], None], str]] = {
    "program": (_program, PROGRAM),
    "inputs": (_inputs, 'the declared inputs changed (example: {"batch": 4}, now {"batch": 8})'),
    "weights": (
        _shapes,
        f"{SHAPES} (fc.weight: float32 [10, 64], now float32 [12, 64])",
    ),
    "options": (_options, "the options changed (epilogue_fusion: none, now false)"),
    "field": (_field, "strict_dims changed (none, now true)"),
    "recipe": (
        _recipe,
        (
            "the options changed (cpp.weight_prepack: none, now false, freezing: none, now true); "
            "the recipe changed (passes, now frozen); the passes changed (none, now [])"
        ),
    ),
    "level": (_level, f"the target is new (before: {V3})"),
    "target": (_target, "the target changed"),
    "torch": (_torch, "torch changed (build, version: {torch}, now 2.14.0)"),
    "compiler": (_compiler, "the C++ compiler changed"),
    "aotbuild": (_aotbuild, "aotbuild changed (code, version: {aotbuild}, now 9.9)"),
    "environment": (_environment, "the environment changed (CPATH: none, now /opt/include)"),
    "removed": (_removed, "its entry was removed from the cache"),
    "damaged": (_damaged, "its entry was damaged"),
    "off": (_off, "the cache is off"),
    "several": (
        _several,
        "the exported program changed; the options changed (epilogue_fusion: none, now false)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_build_tells_why_it_compiles(build: Build, monkeypatch: Patch, case: str) -> None:
    change, reason = CASES[case]
    versions = {
        "torch": identity.torch_identity()["version"],
        "aotbuild": identity.aotbuild_identity()["version"],
    }
    for name, version in versions.items():
        reason = reason.replace(f"{{{name}}}", version)
    build.run()
    change(build, monkeypatch)
    target = build.spec.target
    assert build.run() == compiled(reason, target)
    if case != "off":
        assert build.run() == f"net for {target} was compiled before"


def test_what_can_be_seen_in_no_library_changes_nothing(build: Build) -> None:
    build.run()
    build.graph([{**NODE, "metadata": {"stack_trace": "/another/place/net.py, line 4"}}])
    build.change(project="/another/place", import_paths=["/another/place/src"])
    build.change(tools=Tools(aotbuild="0", torch="2.0"))  # parts of their own tell both
    build.values = bytes(reversed(build.values)) + b"new"
    build.tensors["fc.weight"]["offset"] = 64  # elsewhere in the file
    assert build.run() == HIT


def test_another_model_of_the_same_program_is_the_same(build: Build) -> None:
    build.run()
    build.change(model="twin", package="others.models")
    assert build.run() == f"twin for {V3} was compiled before"


COMPUTED = "weights used at compile time changed"


@pytest.mark.parametrize("option", ["freezing", "max_autotune"])
def test_values_matter_where_they_are_computed_with(
    build: Build, monkeypatch: Patch, option: str
) -> None:
    build.change(options={option: True})
    build.run()
    assert build.run() == HIT
    build.values = b"1" * len(build.values)
    assert build.run() == compiled(COMPUTED)
    monkeypatch.setattr(identity, "_cpu", lambda: {"flags": "avx2 amx_tile"})
    assert build.run() == compiled(
        "this machine has another CPU, for which weights are packed or kernels are chosen"
    )


def test_values_matter_where_it_turns_out_that_they_were_computed_with(build: Build) -> None:
    build.record = dataclasses.replace(RECORD, constants=[OWN])
    build.run()
    assert build.run() == HIT
    dependencies = (Path(SPEC.output) / "compiled.json.d").read_text()
    assert "models/net/cpu/weights.json" in dependencies
    build.values = b"1" * len(build.values)
    assert build.run() == compiled(COMPUTED)


def test_constants_that_are_no_parameters_may_be_written_into_code(build: Build) -> None:
    build.tensors["forward:mask"] = _tensor("forward:mask", [4, 4], 4 * 640)
    build.run()
    build.values = b"1" * (4 * 640) + build.values[4 * 640 :]
    assert build.run() == HIT  # other weights
    build.values = build.values[: 4 * 640] + b"1" * 64
    assert build.run() == compiled(COMPUTED)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_short_types_are_compiled_for_this_cpu(
    build: Build, monkeypatch: Patch, dtype: str
) -> None:
    build.tensors["fc.weight"]["dtype"] = dtype
    build.run()
    monkeypatch.setattr(identity, "_cpu", lambda: {"Features": "asimd bf16"})
    assert "this machine has another CPU" in build.run()


def test_variables_of_torch_may_let_it_compute_with_weights(
    build: Build, monkeypatch: Patch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_FREEZING", "1")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/somewhere")  # which changes nothing
    build.run()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    assert build.run() == HIT
    build.values = b"1" * len(build.values)
    assert build.run() == compiled(COMPUTED)


def test_libraries_of_operators(build: Build, tmp_path: Path) -> None:
    build.change(project=str(tmp_path))
    library = tmp_path / "libclip.so"
    library.write_bytes(b"one")
    build.call["op_libraries"] = ["libclip.so"]
    build.run()
    assert build.run() == HIT
    library.write_bytes(b"two")
    assert build.run() == compiled(PROGRAM)
    build.call["op_libraries"] = ["packaging.version"]  # of an installed package
    build.run()
    assert build.run() == HIT
    build.call["op_libraries"] = ["digits.operators"]
    for _ in range(2):
        assert build.run() == compiled(
            "its operators are of a module of the project, which may read anything"
        )


def test_what_is_narrowed_is_told_of_a_hit_as_well(build: Build) -> None:
    build.record = dataclasses.replace(RECORD, dims={"batch": Dim(1, 15)})
    build.run()
    assert build.run() == HIT
    assert "net will accept 1 to 15 for batch, not 1 to 64" in build.warnings


def test_many_weights_are_one_digest(build: Build, monkeypatch: Patch) -> None:
    monkeypatch.setattr(key, "_MOST_NAMED", 0)
    build.run()
    build.tensors["fc.weight"] = _tensor("fc.weight", [12, 64], 0)
    assert build.run() == compiled(f"{SHAPES} (all)")


def test_a_key_is_the_same_in_every_process(build: Build) -> None:
    build.write()
    found = [key.compile_key(build.spec) for _ in range(2)]
    assert found[0] is not None
    assert found[0] == found[1]
    assert len(key_of(found[0].parts)) == 64
