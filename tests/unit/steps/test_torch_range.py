"""Which versions of torch run compiled code: by the functions that it calls."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from packaging.version import Version

from aotbuild.errors import CompileError
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.compile.torch_interface import declared, headers_of, need_of
from aotbuild.steps.package.torch_range import check_required, torch_range
from aotbuild.torch_version import TorchNeed, runtime_range

BUILT = Version("2.15.0+cpu")

RECORD = BuildRecord(
    target="cpu-x86-64-v3",
    dims={},
    conditions=[],
    example={},
    shared={},
    constants=[],
    folded=[],
    symbols={},
    onednn="",
    proxy_nodes=False,
    derived={},
    compiled={"torch": str(BUILT)},
)


def record(need: TorchNeed | None) -> BuildRecord:
    return dataclasses.replace(RECORD, torch=need, standalone=need is None)


def test_functions_are_found_in_the_headers_of_this_torch() -> None:
    known = declared()
    assert known["aoti_torch_get_sizes"].header == "inductor/aoti_torch/c/shim.h"
    assert known["aoti_torch_get_sizes"].promised
    assert known["aoti_torch_cpu_cumsum"].promised
    packed = known["aoti_torch_cpu_mkldnn_rnn_layer"]
    assert (packed.header, packed.promised) == ("inductor/aoti_torch/c/shim_cpu.h", False)
    # What came later stands in a condition.
    assert known["torch_call_dispatcher"].since == (2, 10)
    assert headers_of(["aoti_torch_none"]) == {"aoti_torch_none": ""}


def test_a_header_tells_since_when_a_function_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = tmp_path / "include" / "torch" / "csrc" / "stable" / "c" / "shim.h"
    header.parent.mkdir(parents=True)
    header.write_text(
        "#ifndef SHIM\n#define SHIM\nint aoti_torch_old(int);\n"
        "#if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_14_0\n#ifdef __cplusplus\n"
        "int torch_new(\n  int);\n#endif\n#else\nint aoti_torch_other();\n#endif\n"
        "int aoti_torch_last();\n#endif\n"
    )
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(torch, "__version__", "2.15.0")
    assert {name: each.since for name, each in declared().items()} == {
        "aoti_torch_old": (0, 0),
        "torch_new": (2, 14),
        "aoti_torch_other": (2, 14),
        "aoti_torch_last": (0, 0),
    }
    assert need_of(["aoti_torch_old", "aoti_torch_last"]) == TorchNeed("2.13")
    assert need_of(["aoti_torch_old", "torch_new"]) == TorchNeed("2.14")


def test_an_older_torch_of_the_build_is_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.12.1")
    assert need_of(["aoti_torch_get_sizes"]) == TorchNeed("2.12")


@pytest.mark.parametrize(
    ("functions", "others", "bound"),
    [
        ([], "", ""),
        (["aoti_torch_get_sizes", "aoti_torch_cpu_convolution"], "", ""),
        ([], "its op-libraries are compiled for one", "its op-libraries are compiled for one"),
        (
            ["aoti_torch_proxy_executor_call_function"],
            "",
            "operators without a function in C are called by way of torch's own runner",
        ),
        (
            ["Sleef_a", "Sleef_b", "Sleef_c", "_ZN2at1dE", "aoti_torch_get_sizes"],
            "",
            "the code calls Sleef_a, Sleef_b, Sleef_c, ..., which torch does not promise to keep",
        ),
    ],
)
def test_what_is_not_promised_binds_to_the_minor_version(
    functions: list[str], others: str, bound: str
) -> None:
    assert need_of(functions, others=others).bound == bound


@pytest.mark.parametrize(
    ("policy", "need", "versions"),
    [
        ("compatible", TorchNeed("2.13"), ">=2.13"),
        ("compatible", TorchNeed("2.15"), ">=2.15"),
        ("compatible", TorchNeed("2.13", "a reason"), ">=2.15,<2.16"),
        ("compatible", None, ">=2.15,<2.16"),
        ("minor", TorchNeed("2.13"), ">=2.15,<2.16"),
        ("symbols", TorchNeed("2.13", "a reason"), ">=2.15"),
        ("exact", TorchNeed("2.13"), "==2.15.0+cpu"),
    ],
)
def test_the_range_follows_the_policy_and_the_functions(
    policy: str, need: TorchNeed | None, versions: str
) -> None:
    assert runtime_range(BUILT, policy, need) == versions
    assert torch_range([record(need)], policy) == versions


def test_the_range_holds_for_all_libraries() -> None:
    records = [record(TorchNeed("2.13")), record(None), record(TorchNeed("2.14"))]
    assert torch_range(records, "compatible") == ">=2.14"
    bound = [*records, record(TorchNeed("2.13", "a reason"))]
    assert torch_range(bound, "compatible") == ">=2.15,<2.16"


@pytest.mark.parametrize(
    ("need", "required"),
    [
        (TorchNeed("2.13"), ">=2.13"),
        (TorchNeed("2.13"), ">=2.15,<2.16"),
        (TorchNeed("2.13", "a reason"), ">=2.15,<2.16"),
        (TorchNeed("2.13", "a reason"), ""),
        (None, ">=2.13"),
    ],
)
def test_a_wheel_may_require_less(need: TorchNeed | None, required: str) -> None:
    check_required([record(need)], "compatible", required)


@pytest.mark.parametrize(
    ("need", "found", "why"),
    [
        (TorchNeed("2.13", "a reason"), ">=2.15,<2.16", "a reason"),
        (TorchNeed("2.15"), ">=2.15", "they call functions that torch has since 2.15"),
    ],
)
def test_a_wheel_that_would_require_more_is_refused(need: TorchNeed, found: str, why: str) -> None:
    with pytest.raises(CompileError) as caught:
        check_required([record(need)], "compatible", ">=2.13")
    block = caught.value.block()
    wrong = f"the wheel would require torch>=2.13, but its libraries run with torch{found}"
    assert wrong in block
    assert f"why:   {why}" in block
    assert 'fix:   write torch = "minor", and report it to the aotbuild project' in block
