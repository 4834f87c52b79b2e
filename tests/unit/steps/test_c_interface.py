"""Names and headers of the C interface; ``tests/wheels`` compiles and calls it."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from samples import sample_manifest

from aotbuild.cache.store import Store
from aotbuild.runtime.dims import Affine, Dim
from aotbuild.runtime.manifest import STATE, Constant, Input, Manifest, StateBuffer
from aotbuild.steps.c_compiler import compile_c
from aotbuild.steps.package.c_interface.cmake import config, config_version
from aotbuild.steps.package.c_interface.described import described
from aotbuild.steps.package.c_interface.header import common_header, model_header
from aotbuild.steps.package.c_interface.names import identifier, package_name
from aotbuild.steps.package.c_interface.write import source_files

ODD: dict[str, Any] = {
    "inputs": [
        Input('cache[0]["k"]', "bfloat16", ["batch", 3], [1, 0]),
        Input("int", "complex64", [Affine("batch", 2, 1)], [0]),
        Input("batch", "bool", [], []),
    ],
    "dims": {"batch": Dim(0, None, 4), "größe": Dim(1, 9)},
    "outputs": {
        "type": "dict",
        "keys": ["owner", "pair", "same"],
        "items": [
            {"type": "tensor", "index": 0, "dtype": "float16", "shape": ["batch", 2]},
            {
                "type": "tuple",
                "items": [
                    {"type": "int", "index": 1},
                    {"type": "constant", "value": None},
                    {"type": "tensor", "index": 2, "dtype": "int64", "shape": []},
                ],
            },
            {"type": "tensor", "index": 3, "dtype": "bool", "shape": [], "input": 2},
        ],
    },
    "doc": "It ends */ here, /* and begins.",
    "conditions": ["batch % 3 != 1"],
}


def alone(model: str = "net", method: str = "forward", **changes: Any) -> Manifest:
    """The manifest of a stand-alone model."""
    manifest = sample_manifest(model, method, **changes)
    variants = [dataclasses.replace(each, standalone=True) for each in manifest.variants]
    return dataclasses.replace(manifest, variants=variants)


def struct(header: str, name: str) -> list[str]:
    """The fields of a struct."""
    (body,) = re.findall(rf"typedef struct \{{([^}}]*)\}} {name};", header)
    return [re.sub(r"/\*.*?\*/", "", line).strip() for line in body.splitlines()[1:]]


def test_fields_are_named_after_arguments_and_results() -> None:
    package = described("my.own.models", {"net": [alone(**ODD)]})
    header = model_header(package, package.models[0])
    assert struct(header, "my_own_net_inputs") == [
        "const uint16_t *cache_0_k;",
        "const float *int_;",
        "const uint8_t *batch;",
        "int64_t batch_;",
        "int64_t gr_e;",
    ]
    assert struct(header, "my_own_net_outputs") == [
        "const uint16_t *owner_;",
        "int64_t owner__shape[2];",
        "int64_t pair_0;",
        "const int64_t *pair_2;",
        "void *owner;",
    ]
    assert "in memory its dimensions lie in the order 1, 0" in header
    assert "#define MY_OWN_NET_BATCH__MIN INT64_C(0)" in header
    assert "#define MY_OWN_NET_BATCH__MULTIPLE INT64_C(4)" in header
    assert "BATCH__MAX" not in header
    assert "Result[pair][1] is always None." in header
    assert "Result[same] is the input batch itself." in header
    assert "It ends * / here, / * and begins." in header
    assert package.models[0].methods[0].output_count == 4


def test_what_a_call_changes_is_not_const() -> None:
    line, hidden, scale = ({"type": "tensor", "index": i} for i in range(3))
    held = {"type": "dict", "keys": ["hidden", "scale"], "items": [hidden, scale], "kind": STATE}
    state = alone(
        inputs=[
            Input("line", "float32", ["batch", 8], [0, 1]),
            Input('state["hidden"]', "float32", ["batch", 4], [0, 1]),
            Input('state["scale"]', "int64", [], []),
        ],
        in_spec={"type": "dict", "keys": ["line", "state"], "items": [line, held]},
        dims={"batch": Dim(1, 9)},
        changed=[1],
        buffers=[StateBuffer("hidden", "float32", ["batch", 4]), StateBuffer("scale", "int64", [])],
        initial={"scale": Constant("", "scale", "scale", "int64", [], [], 0, 8)},
    )
    in_place = alone("step", inputs=[Input("x", "float32", ["batch"], [0])], changed=[0])
    package = described("digits.models", {"net": [state], "step": [in_place], "plain": [alone()]})
    net, plain, step = (model_header(package, model) for model in package.models)
    assert struct(net, "digits_net_inputs") == [
        "const float *line;",
        "float *state_hidden;",
        "const int64_t *state_scale;",  # this call only reads it
        "int64_t batch;",
    ]
    said = " ".join(net.replace("\n *", "").split())
    assert "float32 (batch, 4); the call changes it" in said
    assert "State: state_hidden, state_scale. It is what the model keeps between calls" in said
    assert "All zeros before the first call: state_hidden." in said
    assert "What digits_net_begin() writes before the first call: state_scale." in said
    assert "digits_net_begin(digits_net *model, const digits_net_inputs *inputs);" in said
    assert struct(step, "digits_step_inputs")[0] == "float *x;"
    assert "Changed in place: x." in step
    assert "State: " not in step
    assert "_begin(" not in step + plain
    assert "a call changes" not in plain


def test_no_name_is_given_twice() -> None:
    models = {
        "net": [alone("net"), alone("net", "open"), alone("net", "encode")],
        "net_encode": [alone("net_encode")],
        "status": [alone("status")],
        "error": [alone("error")],
    }
    package = described("digits.models", models)
    texts = [common_header(package), *(model_header(package, each) for each in package.models)]
    declared = r"^(?:void|digits_status_*|const char) \*?(\w+)\(|^\} (\w+);|^#define (\w+)"
    names = [
        next(filter(None, groups))
        for text in texts
        for groups in re.findall(declared, text, re.MULTILINE)
    ]
    assert len(names) == len(set(names))
    assert {"digits_net_open", "digits_net_open_", "digits_net_encode"} <= set(names)
    assert {"digits_net_encode__run", "digits_error__open", "digits_status__run"} <= set(names)


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
def test_tables_of_all_kinds_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++")
    net = [alone(**ODD), alone(method="open"), alone(method="free", inputs=[], dims={})]
    models = {"net": net, "net_open": [alone("net_open")], "status": [alone("status")]}
    libraries = [m.variants[0].library.file for each in models.values() for m in each]
    for name in ("weights.safetensors", *libraries):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
    files = source_files(described("odd.names", models), tmp_path)
    options = ("-I.", "-shared", "-pthread", "-Wall", "-Wextra", "-Werror", "-lm", "-Wl,-z,defs")
    compile_c(tmp_path / "libodd.so", files, options, Store.of_build(tmp_path), "it", "here")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": [Input("x", "float8_e4m3fn", ["batch"], [0])]}, "float8_e4m3fn"),
        ({"conditions": ["batch & 1 == 0"]}, "it needs batch & 1 == 0"),
    ],
)
def test_what_c_cannot_call_is_left_out(changes: dict[str, Any], reason: str) -> None:
    package = described("digits.models", {"net": [alone()], "odd": [alone("odd", **changes)]})
    assert [model.name for model in package.models] == ["net"]
    assert reason in " ".join(common_header(package).replace("\n *", "").split())


def test_a_model_that_torch_runs_is_left_out() -> None:
    package = described("digits.models", {"net": [sample_manifest()]})
    assert package.models == []
    assert package.without == {"net": "it is run by torch"}


def test_names_of_packages() -> None:
    assert package_name("digits.models") == "digits"
    assert package_name("vision.compiled") == "vision_compiled"
    assert package_name("models") == "models"
    assert identifier("2nd") == "_2nd"
    assert identifier("class") == "class_"


def test_the_version_for_cmake_is_the_release() -> None:
    assert 'set(PACKAGE_VERSION "1.4")' in config_version("1.4rc1+local")
    assert config_version("") == ""
    package = described("digits.models", {"net": [alone()]})
    text = config(package, "libdigits.so")
    assert "add_library(digits::net INTERFACE IMPORTED)" in text
    assert "/tmp" not in text
