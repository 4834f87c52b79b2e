"""What a build's results depend on, also where aotbuild is installed in an unusual way."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pytest

import aotbuild
from aotbuild.steps.identity import aotbuild_identity
from aotbuild.steps.sources import source_directory


class EditableLoader(SourceFileLoader):
    """A loader as of an editable install, whose resources are no directory."""

    def get_resource_reader(self, name: str | None = None) -> Any:
        raise IsADirectoryError(name)


@pytest.fixture
def editable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let aotbuild be there as an editable install has it."""
    path = str(Path(aotbuild.__file__))
    loader = EditableLoader("aotbuild", path)
    spec = importlib.util.spec_from_file_location("aotbuild", path, loader=loader)
    monkeypatch.setattr(aotbuild, "__spec__", spec)
    monkeypatch.setattr(aotbuild, "__loader__", loader)


@pytest.mark.usefixtures("editable")
def test_an_editable_aotbuild_has_an_identity_and_sources() -> None:
    with pytest.raises(IsADirectoryError), as_file(files("aotbuild")):
        pass
    aotbuild_identity.cache_clear()
    assert len(aotbuild_identity()["code"]) == 64
    assert list((source_directory("aotbuild") / "engine").glob("*.c"))
