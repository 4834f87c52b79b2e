"""What a build's results depend on, also where aotbuild is installed in an unusual way."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import pytest

import aotbuild
from aotbuild.steps.identity import aotbuild_identity
from aotbuild.steps.sources import source_directory


class EditableLoader(SourceFileLoader):
    """A loader as of an editable install, whose resources are no directory."""

    def get_resource_reader(self, name: str) -> Any:
        raise IsADirectoryError(name)


@pytest.fixture
def editable(monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(Path(aotbuild.__file__))
    loader = EditableLoader("aotbuild", path)
    spec = importlib.util.spec_from_file_location("aotbuild", path, loader=loader)
    monkeypatch.setattr(aotbuild, "__spec__", spec)
    monkeypatch.setattr(aotbuild, "__loader__", loader)


@pytest.mark.usefixtures("editable")
def test_an_editable_aotbuild_has_the_same_identity() -> None:
    usual = aotbuild_identity()
    aotbuild_identity.cache_clear()
    assert aotbuild_identity() == usual
    with source_directory("aotbuild") as root:
        assert list((root / "engine").glob("*.c"))


def test_sources_in_a_zip_file_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        archive.writestr("zipped_sources/__init__.py", "")
        archive.writestr("zipped_sources/engine/engine.c", "int x;")
    monkeypatch.syspath_prepend(tmp_path / "zipped.zip")
    with source_directory("zipped_sources") as root:
        assert (root / "engine" / "engine.c").read_text() == "int x;"
    sys.modules.pop("zipped_sources", None)
