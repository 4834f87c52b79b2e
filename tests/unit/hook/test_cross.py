"""Builds for another architecture than this machine's: what the hook asks for, and refuses."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import PYPROJECT, edited, write_project

from aotbuild.config.runtimes import Choice, check_cross_compiled
from aotbuild.errors import ConfigError
from aotbuild.hook.settings import settings

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the builder is x86-64")

STANDALONE = edited('runtime = "torch"', 'runtime = "standalone"')

Enter = Callable[[str], Path]


@pytest.fixture(autouse=True)
def cross(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torch_of_the_build: object) -> None:
    """Asks for another architecture, whose compiler is there."""
    del torch_of_the_build
    compiler = tmp_path / "bin" / "aarch64-linux-gnu-g++"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho aarch64-linux-gnu\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{compiler.parent}:/usr/bin:/bin")
    monkeypatch.setenv("AOTBUILD_TARGET", "linux-aarch64")
    for name in ("CMAKE_TOOLCHAIN_FILE", "CXX"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Enter:
    """Writes a project and makes it the current directory, as it is in a hook."""

    def write(text: str) -> Path:
        root = write_project(tmp_path / "project", text)
        monkeypatch.chdir(root)
        return root

    return write


def block(state: str = "wheel") -> str:
    """The block with which settings() stops the build."""
    with pytest.raises(SystemExit) as caught:
        settings(state)
    return str(caught.value.code)


@pytest.mark.parametrize("state", ["wheel", "metadata_wheel"])
def test_the_wheel_is_tagged_for_the_architecture_and_compiled_by_its_compiler(
    enter: Enter, state: str
) -> None:
    enter(STANDALONE)
    assert settings(state)["env"] == {
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        "CXX": "aarch64-linux-gnu-g++",
    }


def test_a_build_for_this_machine_or_of_an_sdist_is_as_ever(
    enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(PYPROJECT)
    assert "env" not in settings("sdist")
    monkeypatch.setenv("AOTBUILD_TARGET", "linux-x86_64")
    monkeypatch.delenv("CXX", raising=False)
    assert "env" not in settings("metadata_wheel")


def test_a_model_that_is_declared_to_need_torch_is_refused(enter: Enter) -> None:
    enter(PYPROJECT)
    assert block() == (
        "aotbuild: error: net cannot be compiled for aarch64 on this machine: it needs torch\n"
        "  where: pyproject.toml: tool.aotbuild.models.net\n"
        "         environment: AOTBUILD_TARGET\n"
        '  why:   runtime = "torch"\n'
        "         only stand-alone libraries can be linked and run without the torch of a machine "
        "with aarch64\n"
        "  fix:   build on aarch64 without AOTBUILD_TARGET, or change what needs torch"
    )


def test_a_model_with_a_key_that_needs_torch_is_refused_with_the_key(enter: Enter) -> None:
    text = edited('runtime = "torch"', 'runtime = "auto"')
    enter(edited('devices = ["cpu"]', 'devices = ["cpu"]\nfallback = "eager"', text))
    assert 'why:   it is declared with fallback = "eager"\n' in block()


def test_a_model_that_is_found_to_need_torch_is_refused_with_the_line() -> None:
    check_cross_compiled({"net": Choice("standalone")})
    reason = "only torch has aten.linalg_cholesky, called at demo/network.py:3"
    with pytest.raises(ConfigError) as caught:
        check_cross_compiled({"net": Choice("torch", reason)})
    assert caught.value.what.startswith("net cannot be compiled for aarch64")
    assert caught.value.why.startswith(f"{reason}\n")


@pytest.mark.parametrize("state", ["editable", "metadata_editable"])
def test_an_editable_install_is_refused(enter: Enter, state: str) -> None:
    enter(STANDALONE)
    said = block(state)
    assert "an editable install cannot be for another architecture" in said
    assert "fix:   unset AOTBUILD_TARGET, or build a wheel" in said


def test_a_cmake_project_needs_a_toolchain(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    root = enter(STANDALONE)
    (root / "CMakeLists.txt").write_text("aotbuild_add_models()\n")
    said = block()
    assert "the project's own CMakeLists.txt would compile for this machine, not aarch64" in said
    assert "set CMAKE_TOOLCHAIN_FILE to a file that names one" in said
    monkeypatch.setenv("CMAKE_TOOLCHAIN_FILE", "/toolchains/aarch64.cmake")
    assert settings("wheel")["env"]["_PYTHON_HOST_PLATFORM"] == "linux-aarch64"


def test_a_compiler_that_is_missing_is_told_before_anything_is_built(
    enter: Enter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    enter(STANDALONE)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    said = block()
    assert 'there is no C++ compiler "aarch64-linux-gnu-g++"' in said
    assert "Debian: apt-get install g++-aarch64-linux-gnu" in said
    assert "dnf install gcc-c++-aarch64-linux-gnu" in said


def test_another_name_is_refused(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(STANDALONE)
    monkeypatch.setenv("AOTBUILD_TARGET", "linux-riscv64")
    assert block() == (
        'aotbuild: error: "linux-riscv64" cannot be built for here\n'
        "  where: environment: AOTBUILD_TARGET\n"
        "  why:   on linux-x86_64 it may be linux-x86_64 or linux-aarch64\n"
        "  fix:   correct it, or unset it to build for this machine"
    )
