"""The compiler's script, and what compiles share, with a program that only pretends to be g++."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from aotbuild.errors import ToolchainError
from aotbuild.steps.compile.cxx import Compiler, CompilerCall, with_quiet_interface, write_compiler
from aotbuild.steps.compile.shared_code import sharing
from aotbuild.target import TARGETS
from aotbuild.toolchain import find_cxx, without_launcher

TARGET = "cpu-x86-64-v3"
INTERFACE = "_inductor/codegen/aoti_runtime/interface.cpp"
HEADERS = [
    "torch/csrc/inductor/aoti_include/cpu.h.gch",
    "torch/csrc/inductor/cpp_prefix.h.gch",
]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Compiler]:
    """A compiler of this name, which notes its arguments and writes what ``-o`` names."""

    def make(
        scratch: str,
        name: str = "g++",
        failing: str = "nothing",
        version: str = "",
        target: str = TARGET,
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
        return write_compiler([str(program)], TARGETS[target], tmp_path / scratch)

    return make


def commands(compiler: Compiler) -> tuple[CompilerCall, CompilerCall]:
    def command(level: str) -> CompilerCall:
        return lambda source, output: [str(compiler.script), source, level, "-c", "-o", output]

    return command("-O1"), command("-O3")


def shared(compiler: Compiler, kept: Path | None, *, precompile: bool = True) -> None:
    with sharing(compiler, *commands(compiler), kept, precompile=precompile) as ready:
        ready()
        ready()


def precompiled(compiler: Compiler) -> list[str]:
    return [h for h in HEADERS if any((place / h).exists() for place in compiler.includes)]


@pytest.mark.parametrize("kept", [True, False])
def test_few_compiles_do_without_precompiled_headers(
    make: Callable[..., Compiler], tmp_path: Path, *, kept: bool
) -> None:
    compiler = make("one")
    shared(compiler, tmp_path / "cache" if kept else None, precompile=False)
    assert compiler.common.exists()
    assert precompiled(compiler) == []


def test_several_compiles_share_them(make: Callable[..., Compiler], tmp_path: Path) -> None:
    cache = tmp_path / "with a blank"
    for scratch in ("one", "two"):
        compiler = make(scratch)
        shared(compiler, cache)
        assert compiler.common.exists()
        assert precompiled(compiler) == HEADERS
    assert len((tmp_path / "calls").read_text().splitlines()) == 3


def test_compiles_at_the_same_time_do_it_once(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    one, two = make("one"), make("two")
    kept, told = tmp_path / "cache", threading.Event()

    def second() -> None:
        with sharing(two, *commands(two), kept, precompile=True) as ready:
            told.set()
            ready()
            assert two.common.exists()

    with ThreadPoolExecutor(1) as pool:
        with sharing(one, *commands(one), kept, precompile=True) as ready:
            other = pool.submit(second)
            assert told.wait(60)
            assert not other.done()
            ready()
        other.result(60)
    assert len((tmp_path / "calls").read_text().splitlines()) == 3


def test_a_compile_that_ends_early_leaves_it_to_the_next(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError):
        fail(make("one"), tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    compiler = make("two")
    shared(compiler, tmp_path / "cache")
    assert compiler.common.exists()


def fail(compiler: Compiler, kept: Path) -> None:
    with sharing(compiler, *commands(compiler), kept, precompile=True):
        raise ZeroDivisionError


def test_another_version_of_the_compiler_gets_its_own(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    for scratch, told in (("one", "12.2"), ("two", "13.1")):
        shared(make(scratch, version=told), tmp_path / "cache")
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 4


def test_levels_share_what_is_around_the_kernels(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    one, other = make("one"), make("two", target="cpu-x86-64-v4")
    for compiler in (one, other):
        shared(compiler, tmp_path / "cache")
        assert precompiled(compiler) == HEADERS
    assert one.common.resolve() == other.common.resolve()
    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    sources = [Path(next(w for w in call if w.endswith((".cpp", ".h")))).name for call in calls]
    assert sorted(zip(sources, [call[-1] for call in calls], strict=True)) == [
        ("common.cpp", "-march=x86-64-v2"),
        ("cpp_prefix.h", "-march=x86-64-v3"),
        ("cpp_prefix.h", "-march=x86-64-v4"),
        ("cpu.h", "-march=x86-64-v2"),
    ]


def test_kernels_alone_are_compiled_for_the_level(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    compiler = make("one")
    for source in ("a/model.wrapper.cpp", "a/model.kernel.cpp"):
        subprocess.run([compiler.script, source, "-c", "-march=native"], check=True)
    marches = [line.split()[-1] for line in (tmp_path / "calls").read_text().splitlines()]
    assert marches == ["-march=x86-64-v2", "-march=x86-64-v3"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_library_that_differs_is_used_as_it_is(
    make: Callable[..., Compiler], tmp_path: Path, *, kept: bool
) -> None:
    compiler = make("one", failing="common.cpp")
    shared(compiler, tmp_path / "cache" if kept else None)
    assert not compiler.common.exists()
    assert precompiled(compiler) == HEADERS[1:]  # kernels are another matter


def test_a_compiler_of_another_kind_shares_nothing(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    shared(make("one", name="clang++"), tmp_path / "cache")
    assert not (tmp_path / "calls").exists()


def test_the_object_file_is_linked_to_libraries_alone(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    compiler = make("one")
    shared(compiler, None)
    (tmp_path / "calls").unlink()
    subprocess.run([compiler.script, "a.cpp", "-c"], check=True)
    (tmp_path / "a.o").touch()
    subprocess.run([compiler.script, tmp_path / "a.o", "-shared"], check=True)
    compiled, linked = (tmp_path / "calls").read_text().splitlines()
    assert {f"-I{place}" for place in compiler.includes} <= set(compiled.split())
    assert str(compiler.common) not in compiled
    assert str(compiler.common) in linked.split()


def test_the_interface_of_a_library_is_taken_out_of_its_own_code(
    make: Callable[..., Compiler],
) -> None:
    interface = (Path(torch.__file__).parent / INTERFACE).read_text("utf-8")
    wrapper = with_quiet_interface(f"#include <first.h>\n{interface}\nint own;\n")
    compiler = make("one")
    shared(compiler, None)
    common = compiler.common.with_suffix(".cpp").read_text("utf-8")
    assert "AOTInductorModelContainerRun" in common
    assert "std::cerr" in interface
    assert "std::cerr" not in common
    own = compiler.split(wrapper)
    assert "AOTInductorModelContainerRun" not in own
    assert own.startswith("#include <first.h>\n#include <torch/")
    assert own.endswith("int own;\n")


@pytest.mark.parametrize("kept", [True, False])
def test_code_with_another_interface_is_compiled_as_it_is(
    make: Callable[..., Compiler], tmp_path: Path, *, kept: bool
) -> None:
    compiler = make("one")
    shared(compiler, tmp_path / "cache" if kept else None)
    assert compiler.split("int other;\n") == "int other;\n"
    assert not compiler.common.exists()
    (tmp_path / "calls").unlink()
    (tmp_path / "a.o").touch()
    subprocess.run([compiler.script, tmp_path / "a.o", "-shared"], check=True)
    assert "common.o" not in (tmp_path / "calls").read_text()


def test_few_compiles_use_precompiled_headers_that_are_there(
    make: Callable[..., Compiler], tmp_path: Path
) -> None:
    shared(make("one"), tmp_path / "cache")
    compiler = make("two")
    shared(compiler, tmp_path / "cache", precompile=False)
    assert precompiled(compiler) == HEADERS


def test_what_was_damaged_is_made_anew(make: Callable[..., Compiler], tmp_path: Path) -> None:
    shared(make("one"), tmp_path / "cache", precompile=False)
    (common,) = (tmp_path / "cache").glob("*/common.o")
    common.write_text("damaged")
    compiler = make("two")
    shared(compiler, tmp_path / "cache", precompile=False)
    assert compiler.common.read_text() == common.read_text() == "made\n"


def test_on_a_full_disk_a_compile_shares_with_none(
    make: Callable[..., Compiler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    compiler = make("one")
    shared(compiler, tmp_path / "cache", precompile=False)
    assert compiler.common.exists()  # the library has the same bytes
    assert not (tmp_path / "cache").exists()


def test_in_a_directory_that_cannot_be_written_a_compile_shares_with_none(
    make: Callable[..., Compiler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def fail(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.is_relative_to(tmp_path / "cache") and ".part" in str(path):
            raise OSError(28, "No space left on device")
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", fail)
    compiler = make("one")
    shared(compiler, tmp_path / "cache", precompile=False)
    assert compiler.common.exists()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_what_failed_is_tried_again(make: Callable[..., Compiler], tmp_path: Path) -> None:
    shared(make("one", failing="common.cpp"), tmp_path / "cache")  # such as on a full disk
    compiler = make("two")
    shared(compiler, tmp_path / "cache")
    assert compiler.common.exists()


def test_without_precompiled_headers_it_is_the_same_wherever_torch_is(
    make: Callable[..., Compiler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared(make("one"), tmp_path / "cache", precompile=False)
    calls = (tmp_path / "calls").read_text()
    # As in an isolated build; what torch says of itself is looked for where it is.
    elsewhere = tmp_path / "isolated" / "torch"
    shutil.copytree(
        Path(torch.__file__).parent / "_inductor/codegen/aoti_runtime",
        elsewhere / "_inductor/codegen/aoti_runtime",
    )
    (elsewhere / "version.py").touch()
    monkeypatch.setattr(torch, "__file__", str(elsewhere / "__init__.py"))
    shared(make("two"), tmp_path / "cache", precompile=False)
    assert (tmp_path / "calls").read_text() == calls


@pytest.mark.parametrize("variable", ["CXX", "CMAKE_CXX_COMPILER_LAUNCHER"])
def test_a_launcher_runs_the_compiler_and_changes_nothing(
    make: Callable[..., Compiler],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    plain = make("one")
    launcher = tmp_path / "ccache"
    launcher.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/launched\nexec "$@"\n')
    launcher.chmod(0o755)
    program = str(tmp_path / "g++")
    given = {"CXX": program, "CMAKE_CXX_COMPILER_LAUNCHER": str(launcher)}
    if variable == "CXX":
        given = {"CXX": f"{launcher} {program}"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    command = find_cxx()
    assert command == [str(launcher), program]
    assert without_launcher(command) == [program]
    (tmp_path / "two").mkdir()
    launched = write_compiler(command, TARGETS[TARGET], tmp_path / "two")
    assert launched.script.name == "g++"
    assert launched.identity(*commands(launched)) == plain.identity(*commands(plain))
    subprocess.run([launched.script, "a/model.kernel.cpp", "-c"], check=True)
    assert program in (tmp_path / "launched").read_text()
    shared(plain, tmp_path / "cache")
    calls = (tmp_path / "calls").read_text()
    shared(launched, tmp_path / "cache")  # has it from the other one
    assert (tmp_path / "calls").read_text() == calls


def test_a_launcher_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_CXX_COMPILER_LAUNCHER", "no-such-ccache")
    with pytest.raises(ToolchainError) as caught:
        find_cxx()
    assert caught.value.what == 'there is no compiler launcher "no-such-ccache"'
    assert caught.value.where == "environment: CMAKE_CXX_COMPILER_LAUNCHER"


def test_a_launcher_may_have_arguments_and_stands_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sccache", "g++"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    launcher, program = str(tmp_path / "sccache"), str(tmp_path / "g++")
    monkeypatch.setenv("CMAKE_CXX_COMPILER_LAUNCHER", f"{launcher};--quiet")
    monkeypatch.setenv("CXX", f"{program} -pipe")
    assert find_cxx() == [launcher, "--quiet", program, "-pipe"]
    assert without_launcher(find_cxx()) == [program, "-pipe"]
    monkeypatch.setenv("CXX", f"{launcher} {program}")
    assert find_cxx() == [launcher, program]


DENORMAL = "import ctypes, sys; ctypes.CDLL(sys.argv[1]); print(5e-324 * 3 > 0)"


def flushes(library: Path) -> bool:
    """Whether denormals are zero in a process that has loaded a library."""
    command = [sys.executable, "-c", DENORMAL, str(library)]
    return subprocess.run(command, capture_output=True, check=True).stdout.strip() == b"False"


@pytest.mark.skipif(shutil.which("g++") is None, reason="of g++")
@pytest.mark.parametrize("option", ["-funsafe-math-optimizations", "-ffast-math", "-Ofast"])
@pytest.mark.parametrize("where", ["option", "command"])
def test_a_library_leaves_the_floating_point_environment_alone(
    tmp_path: Path, option: str, where: str
) -> None:
    (tmp_path / "one.cpp").write_text("int one() { return 1; }\n")
    cxx = ["g++", *([option] if where == "command" else [])]
    compiler = write_compiler(cxx, TARGETS[TARGET], tmp_path)
    options = [option] if where == "option" else []
    source, made = str(tmp_path / "one.cpp"), str(tmp_path / "one.o")
    subprocess.run([compiler.script, source, "-c", "-fPIC", *options, "-o", made], check=True)
    library = tmp_path / "one.so"
    subprocess.run([compiler.script, "-shared", *options, made, "-o", library], check=True)
    assert not flushes(library)
    # As it would be: should this fail, the compiler no longer does it.
    subprocess.run(["g++", "-shared", option, made, "-o", library], check=True)
    assert flushes(library) == _links_fast_math()


def _links_fast_math() -> bool:
    version = subprocess.run(["g++", "-dumpversion"], capture_output=True, check=True)
    return int(version.stdout.split(b".")[0]) < 13
