"""The C++ compiler that a build takes, and those that it refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aotbuild.errors import ToolchainError
from aotbuild.toolchain import check_cxx, find_cxx, is_clang

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Clang is the compiler of macOS")

CLANG = """#!/bin/sh
case "$*" in
*--version*) echo 'Clang 99.1'; echo 'Target: none' ;;
*' -E '*|'-E '*) sed s/__clang__/1/ ;;
esac
"""
"""A compiler that answers as Clang does."""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def clang(tmp_path: Path) -> Path:
    return program(tmp_path / "clang++", CLANG)


def refused() -> ToolchainError:
    with pytest.raises(ToolchainError) as caught:
        find_cxx()
    return caught.value


def test_clang_is_refused_for_its_openmp(clang: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", f"{clang} -pipe")
    assert refused().block() == (
        f'aotbuild: error: "{clang} -pipe" is Clang, which cannot compile models here\n'
        "  where: environment: CXX\n"
        "  why:   code that Clang 99.1 compiles runs on OpenMP's libomp, and torch on libgomp: a "
        "process that had both would start two sets of threads\n"
        "  fix:   set CXX=g++, or unset it where g++ is the default"
    )


@pytest.mark.parametrize("kind", ["link", "script", "ccache", "own launcher", "CMake's launcher"])
def test_clang_is_known_whatever_its_name(
    clang: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    launcher = program(
        tmp_path / ("ccache" if kind == "ccache" else "launch"), '#!/bin/sh\nexec "$@"\n'
    )
    link, script = tmp_path / "c++", tmp_path / "g++"
    link.symlink_to(clang)
    program(script, f'#!/bin/sh\nexec {clang} "$@"\n')
    command = {"link": link, "script": script, "CMake's launcher": link}
    monkeypatch.setenv("CXX", str(command.get(kind, f"{launcher} {clang}")))
    if kind == "CMake's launcher":
        monkeypatch.setenv("CMAKE_CXX_COMPILER_LAUNCHER", str(launcher))
    assert "is Clang" in refused().what


def test_the_default_compiler_may_be_clang(
    clang: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / "g++").symlink_to(clang)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    error = refused()
    assert error.what == '"g++" is Clang, which cannot compile models here'
    assert error.where == "environment: PATH"


def test_clang_is_the_compiler_of_macos(clang: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("CXX", str(clang))
    assert find_cxx() == [str(clang)]


def test_a_check_needs_no_compiler_and_refuses_a_wrong_one(
    clang: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_cxx()
    monkeypatch.setenv("CMAKE_CXX_COMPILER_LAUNCHER", "no-such-launcher")
    for command in (str(clang), f"ccache {clang}"):
        monkeypatch.setenv("CXX", command)
        with pytest.raises(ToolchainError, match="is Clang"):
            check_cxx()


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\n", "#!/no/such/program\n"])
def test_a_compiler_that_does_not_answer_is_not_taken_for_clang(tmp_path: Path, text: str) -> None:
    assert not is_clang((str(program(tmp_path / "c++", text)),))


@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_real_compilers_are_told_apart(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    path = str(shutil.which(name))
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    assert is_clang((path,)) == ("clang" in version)


def test_a_cross_compiler_that_is_missing_is_told_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError) as caught:
        find_cxx("aarch64")
    assert caught.value.block() == (
        'aotbuild: error: there is no C++ compiler "aarch64-linux-gnu-g++"\n'
        "  where: environment: PATH\n"
        "  why:   compiling for aarch64 on this machine needs one (it is the default; CXX is not "
        "set)\n"
        "  fix:   install it (Debian: apt-get install g++-aarch64-linux-gnu; Fedora, which has no "
        "C library for it: dnf install gcc-c++-aarch64-linux-gnu, with a sysroot of your own), or "
        "set CXX to another g++ for aarch64"
    )


def test_a_compiler_for_this_machine_is_no_cross_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = program(tmp_path / "g++-12", "#!/bin/sh\necho x86_64-linux-gnu\n")
    monkeypatch.setenv("CXX", str(own))
    with pytest.raises(ToolchainError) as caught:
        find_cxx("aarch64")
    assert caught.value.what == f'"{own}" does not compile for aarch64'
    assert caught.value.why == "it compiles for x86_64-linux-gnu"
    assert caught.value.fix.startswith("unset CXX, whose default is aarch64-linux-gnu-g++ then")
