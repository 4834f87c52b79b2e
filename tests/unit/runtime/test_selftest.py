"""``python -m <package>``: what it says where there is nothing to test, or nothing to test with."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from aotbuild.runtime import selftest
from aotbuild.runtime.errors import ModelLoadError
from aotbuild.runtime.manifest import Manifest


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that lists a model and has none of its files."""
    package = tmp_path / "bare_models"
    package.mkdir()
    (package / "__init__.py").write_text('__all__ = ["net"]\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bare_models"])
    return package


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_models_that_are_missing_fail(
    bare: Path,
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["bare_models", *options])
    with pytest.raises(SystemExit) as caught:
        selftest.main(bare, "bare_models")
    assert caught.value.code == 1
    assert str(bare / "net" / "model.json") in capsys.readouterr().out


def test_that_torch_is_missing_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(*_: object) -> NoReturn:
        raise ModelLoadError("torch is not installed, which compiled models need")

    net = SimpleNamespace(standalone=False)
    monkeypatch.setattr(Manifest, "read", lambda _: net)
    monkeypatch.setattr(selftest, "test_model", without_torch)
    with pytest.raises(SystemExit) as caught:
        selftest.main(bare, "bare_models")
    assert "python -m bare_models: torch is not installed" in str(caught.value.code)


def test_a_missing_model_is_told_without_torch(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as caught:
        selftest.main(bare, "bare_models")
    assert caught.value.code == 1
    assert str(bare / "net" / "model.json") in capsys.readouterr().out
