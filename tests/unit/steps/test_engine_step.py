"""The step that compiles the engine, where it cannot; ``tests/wheels`` has it compiled."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest

from aotbuild.errors import CompileError
from aotbuild.interpreter import ENGINE
from aotbuild.steps.artifacts.spec import EngineSpec, Tools, spec_text
from aotbuild.steps.engine import step


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "engine.json"
    path.write_text(spec_text(EngineSpec(output="engine", tools=Tools(aotbuild="0", torch="2"))))
    return path


def test_without_headers_the_package_has_no_engine(
    spec: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    get_path = sysconfig.get_path
    missing = {"include": "/nowhere"}
    monkeypatch.setattr(sysconfig, "get_path", lambda name: missing.get(name) or get_path(name))
    Path("engine").mkdir()
    (Path("engine") / ENGINE).touch()  # of an earlier build
    step.run(spec)
    said = capsys.readouterr().err
    assert "aotbuild: warning: the package is built without its native engine" in said
    assert "apt-get install python3-dev" in said
    assert "torch's own runner" in said
    assert not (Path("engine") / ENGINE).exists()
    assert "headers" in json.loads(Path("engine/engine.json").read_text())["without"]
    assert Path("engine/engine.json.d").exists()


def test_a_compiler_that_refuses_the_engine(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = tmp_path / "include"
    headers.mkdir()
    (headers / "Python.h").touch()
    get_path = sysconfig.get_path
    monkeypatch.setattr(
        sysconfig, "get_path", lambda name: str(headers) if name == "include" else get_path(name)
    )
    compiler = tmp_path / "cxx"
    compiler.write_text("#!/bin/sh\necho engine.c:1: unknown flag >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(CompileError) as caught:
        step.run(spec)
    said = caught.value.block()
    assert "the native engine could not be compiled" in said
    assert "engine.c:1: unknown flag" in said
    assert "set CXX" in said
    assert list(Path("engine").iterdir()) == []
