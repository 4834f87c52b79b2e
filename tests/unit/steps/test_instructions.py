"""Machine code above a CPU level is found in what a disassembler prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from aotbuild.errors import CompileError
from aotbuild.steps.compile import instructions
from aotbuild.steps.compile.instructions import check_instructions, foreign_instruction
from aotbuild.target import TARGETS

PLAIN = "movaps %xmm0,(%rdi)", "tzcnt  %eax,%edx", "vzeroall_looks_like_a_name", "verr   %ax"
V3 = (
    "vaddps %ymm1,%ymm0,%ymm0",
    "vmovss (%rax),%xmm0",
    "vcvtps2ph $0x8,%ymm1,%xmm1",
    "shlx   %rax,%rdx,%rcx",
    "andn   %eax,%ecx,%edx",
)
V4 = (
    "vaddps %zmm1,%zmm0,%zmm0",
    "vmovups %xmm16,(%rdi)",
    "vaddps %ymm1,%ymm0,%ymm31{%k1}",
    "kmovw  %eax,%k1",
    "vpermi2d %ymm2,%ymm1,%ymm0{%k7}{z}",
)
LATER = (
    "vdpbf16ps %zmm1,%zmm2,%zmm3",
    "vcvtneps2bf16 %zmm0,%ymm0",
    "vpdpbusd %zmm1,%zmm2,%zmm3",
    "tdpbf16ps %tmm0,%tmm1,%tmm2",
    "vaddph %zmm1,%zmm2,%zmm3",
)


def listing(*instructions: str) -> str:
    head = "library.so:     file format elf64-x86-64\n\n0000000000001000 <kernel>:\n"
    return head + "".join(f"    {0x1000 + i:x}:\t{text}\n" for i, text in enumerate(instructions))


@pytest.mark.parametrize(
    ("level", "own", "foreign"),
    [
        ("x86-64-v2", PLAIN[:2], [*V3, *V4, *LATER]),
        ("x86-64-v3", [*PLAIN, *V3], [*V4, *LATER]),
        ("x86-64-v4", [*PLAIN, *V3, *V4], LATER),
    ],
)
def test_instructions_above_a_level_are_found(
    level: str, own: list[str], foreign: list[str]
) -> None:
    assert foreign_instruction(listing(*own), level) == ""
    for instruction in foreign:
        code = listing(*own, instruction, *own)
        assert foreign_instruction(code, level) == " ".join(instruction.split())


def test_what_the_disassembler_adds_is_no_instruction() -> None:
    code = listing("lea    0x10(%rip),%rax        # 2040 <vaddps_table %zmm0>")
    assert foreign_instruction(code, "x86-64-v3") == ""
    assert foreign_instruction(code, "x86-64-v2") == ""


def test_a_library_with_foreign_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disassembler = tmp_path / "objdump"
    disassembler.write_text(f"#!/bin/sh\nprintf '%s' '{listing(V4[0])}'\n")
    disassembler.chmod(0o755)
    monkeypatch.setattr(instructions, "find_disassembler", lambda: str(disassembler))
    library = tmp_path / "library.so"
    assert check_instructions(library, TARGETS["cpu-x86-64-v4"], "here")
    with pytest.raises(CompileError) as caught:
        check_instructions(library, TARGETS["cpu-x86-64-v3"], "here")
    assert "the library for cpu-x86-64-v3 has instructions that this level lacks" in str(
        caught.value
    )
    assert "vaddps %zmm1,%zmm0,%zmm0" in caught.value.why
    assert caught.value.where == "here"


def test_nothing_is_checked_without_a_disassembler_or_a_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not check_instructions(tmp_path / "library.so", TARGETS["cpu-armv8"], "")
    monkeypatch.setattr(instructions, "find_disassembler", lambda: None)
    assert not check_instructions(tmp_path / "library.so", TARGETS["cpu-x86-64-v3"], "")
