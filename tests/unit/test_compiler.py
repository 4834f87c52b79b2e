"""What all compiles have in common, with a program that only pretends to be g++."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from aotbuild.build.compiler import Command, Compiler, share, write_compiler
from aotbuild.target import TARGETS

TARGET = TARGETS["cpu-x86-64-v3"]
HEADERS = [
    "torch/csrc/inductor/aoti_include/cpu.h.gch",
    "torch/csrc/inductor/cpp_prefix.h.gch",
]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Compiler]:
    """A compiler of this name, which notes its arguments and writes what ``-o`` names."""

    def make(
        scratch: str, name: str = "g++", failing: str = "nothing", version: str = ""
    ) -> Compiler:
        program = tmp_path / name
        program.write_text(
            f"""#!/bin/sh
case "$*" in --version) echo {version}; exit ;; esac
echo "$@" >> {tmp_path}/calls
case "$*" in *{failing}*) exit 1 ;; esac
while [ $# -gt 0 ]; do [ "$1" = -o ] && echo made > "$2"; shift; done
"""
        )
        program.chmod(0o755)
        (tmp_path / scratch).mkdir()
        return write_compiler([str(program)], TARGET, tmp_path / scratch)

    return make


def commands(compiler: Compiler) -> tuple[Command, Command]:
    def command(level: str) -> Command:
        return lambda source, output: [str(compiler.script), source, level, "-c", "-o", output]

    return command("-O1"), command("-O3")


def test_one_compile_does_without_precompiled_headers(make: Callable[..., Compiler]) -> None:
    compiler = make("one")
    share(compiler, *commands(compiler), None)
    assert compiler.regex.exists()
    assert not any((compiler.include / header).exists() for header in HEADERS)


def test_several_compiles_share_them(make: Callable[..., Compiler], tmp_path: Path) -> None:
    cache = tmp_path / "with a blank"
    for scratch in ("one", "two"):
        compiler = make(scratch)
        share(compiler, *commands(compiler), cache)
        assert compiler.regex.exists()
        assert all((compiler.include / header).exists() for header in HEADERS)
    assert len((tmp_path / "calls").read_text().splitlines()) == 3


def test_another_version_of_the_compiler_gets_its_own(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    for scratch, told in (("one", "12.2"), ("two", "13.1")):
        compiler = make(scratch, version=told)
        share(compiler, *commands(compiler), tmp_path / "cache")
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("shared", [True, False])
def test_a_library_that_differs_is_used_as_it_is(
    make: Callable[..., Compiler], tmp_path: Path, *, shared: bool
) -> None:
    compiler = make("one", failing="regex.cpp")
    share(compiler, *commands(compiler), tmp_path / "cache" if shared else None)
    assert not compiler.regex.exists()
    assert [path for path in compiler.include.rglob("*") if path.is_file()] == []


def test_a_compiler_of_another_kind_shares_nothing(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    compiler = make("one", name="clang++")
    share(compiler, *commands(compiler), tmp_path / "cache")
    assert not (tmp_path / "calls").exists()


def test_the_object_file_is_linked_to_libraries_alone(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    compiler = make("one")
    share(compiler, *commands(compiler), None)
    (tmp_path / "calls").unlink()
    subprocess.run([compiler.script, "a.cpp", "-c"], check=True)
    subprocess.run([compiler.script, "a.o", "-shared"], check=True)
    compiled, linked = (tmp_path / "calls").read_text().splitlines()
    assert f"-I{compiler.include}" in compiled.split()
    assert str(compiler.regex) not in compiled
    assert str(compiler.regex) in linked.split()
