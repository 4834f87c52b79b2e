"""Fixtures of the tests of hooks."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def no_torch_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no environment around that of the build, with a torch of its own."""
    outer = tmp_path / "outside"
    monkeypatch.setattr("aotbuild.hook.requirement.sysconfig.get_path", lambda _: str(outer))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
