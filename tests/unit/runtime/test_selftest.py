"""``python -m <package>``: what it says where there is nothing to test, or nothing to test with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aotbuild.runtime.selftest import main


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
        main(bare, "bare_models")
    assert caught.value.code == 1
    assert str(bare / "net" / "model.json") in capsys.readouterr().out


def test_that_torch_is_missing_is_told(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as caught:
        main(bare, "bare_models")
    assert "python -m bare_models: torch is not installed" in str(caught.value.code)
