"""Kernels: headers that compile by themselves, and functions as exact as their comments say."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import arm64
import pytest
import torch
from torch.utils.cpp_extension import include_paths

from aotbuild.passes.template.kernel_text import kernel_text

PASSES = Path(str(files("aotbuild.passes")))
HEADERS = sorted(str(path.relative_to(PASSES)) for path in PASSES.rglob("*.h"))
ARM = "armv8-a"
OWN = ["x86-64", "x86-64-v3", "x86-64-v4"] if platform.machine() == "x86_64" else ["native"]
LEVELS = [
    *OWN,
    pytest.param(ARM, marks=pytest.mark.skipif(bool(arm64.why_not()), reason=arm64.why_not())),
]
SMALL_HEADERS = Path(str(files("aotbuild"))) / "standalone" / "headers"


def _compiler(level: str) -> list[str]:
    """The compiler, for a CPU level, with the name by which torch's vectors know it."""
    name = {"x86-64-v3": "AVX2", "x86-64-v4": "AVX512", ARM: "NEON"}.get(level)
    defined = [f"-DCPU_CAPABILITY={name}", f"-DCPU_CAPABILITY_{name}"] if name else []
    if level == ARM:  # whose functions of Sleef a torch for x86-64 does not declare
        defined += ["-DAT_BUILD_ARM_VEC256_WITH_SLEEF", f"-isystem{SMALL_HEADERS}"]
    return [arm64.COMPILER if level == ARM else "g++", f"-march={level}", *defined]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("header", HEADERS)
def test_a_header_compiles_by_itself(header: str, level: str, tmp_path: Path) -> None:
    source = tmp_path / "source.cpp"
    source.write_text(f'#include "{header}"\n')
    check = ["-std=c++20", "-fsyntax-only", "-fopenmp", "-Wall", "-Wextra", "-Werror"]
    check += [f"-I{PASSES}", *(f"-isystem{path}" for path in include_paths())]
    subprocess.run([*_compiler(level), *check, source], check=True)


@pytest.mark.parametrize("header", HEADERS)
def test_a_template_gets_each_header_once(header: str) -> None:
    text = kernel_text(header)
    assert '#include "' not in text
    guards = re.findall(r"^#define (AOTBUILD_\w+_H)$", text, re.MULTILINE)
    assert len(guards) == len(set(guards)) >= 1


def test_kernels_in_one_file_may_have_headers_in_common(tmp_path: Path) -> None:
    source = tmp_path / "source.cpp"
    source.write_text("".join(map(kernel_text, HEADERS)))
    check = [*_compiler(OWN[-1]), "-std=c++20", "-fsyntax-only", "-fopenmp", str(source)]
    subprocess.run([*check, *(f"-isystem{path}" for path in include_paths())], check=True)


CAPABILITIES = {"x86-64-v3": {"AVX2", "AVX512"}, "x86-64-v4": {"AVX512"}}
"""With which torch says that a CPU has a level."""
ULP = {
    "exponential": 1.0,
    "hyperbolic_tangent": 2.4,
    "logistic": 2.1,
    "sigmoid": 2.1,
    "silu": 2.0,
    "gelu": 3.7,
    "gelu_tanh": 36,
    "gelu_tanh_of_small": 2.5,
}
"""Largest errors in units in the last place; the comments in simd/ name them."""
ABSOLUTE = {"gelu_of_negative": 4e-8, "gelu_tanh_of_negative": 5e-8}


def _output_of(name: str, level: str, tmp_path: Path) -> str:
    """What a program beside this file prints, compiled for a CPU level."""
    if level in CAPABILITIES and torch.backends.cpu.get_cpu_capability() not in CAPABILITIES[level]:
        pytest.skip(f"this CPU has no {level}")
    source, program = Path(__file__).with_name(name), tmp_path / "program"
    options = ["-std=c++17", "-O2", "-ffp-contract=off", "-fopenmp", f"-I{PASSES}"]
    subprocess.run([*_compiler(level), *options, source, "-o", program], check=True)
    command = arm64.program(program) if level == ARM else [program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("level", LEVELS)
def test_functions_are_as_exact_as_their_comments_say(level: str, tmp_path: Path) -> None:
    lines = [line.split() for line in _output_of("kernel_errors.cpp", level, tmp_path).splitlines()]
    units = {name: float(unit) for name, unit, _ in lines}
    absolute = {name: float(error) for name, _, error in lines}
    bounds = {**ULP, **({"gelu": 70} if level == "x86-64" else {})}
    assert {name: units[name] for name in bounds if units[name] > bounds[name]} == {}
    assert {name: absolute[name] for name in ABSOLUTE if absolute[name] > ABSOLUTE[name]} == {}


@pytest.mark.parametrize("level", LEVELS)
def test_few_rows_give_the_bits_of_many(level: str, tmp_path: Path) -> None:
    lines = [line.split() for line in _output_of("few_rows.cpp", level, tmp_path).splitlines()]
    assert {name: int(different) for name, different, _ in lines} == dict.fromkeys(
        ("floats", "pairs", "widened"), 0
    )
    assert all(int(compared) > 1 << 16 for _, _, compared in lines)
