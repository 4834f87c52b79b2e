"""Fixtures of the tests of hooks: the torch of the build, of which a hook reads the metadata."""

from __future__ import annotations

import importlib.metadata

import pytest
from samples import SetTorch


@pytest.fixture(autouse=True)
def torch_of_the_build(monkeypatch: pytest.MonkeyPatch) -> SetTorch:
    """Sets the torch that is installed, in the eyes of importlib.metadata; first 2.13.0+cpu."""
    real = importlib.metadata.version

    def choose(installed: str | None) -> None:
        def version(name: str) -> str:
            if name != "torch":
                return real(name)
            if installed is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return installed

        monkeypatch.setattr(importlib.metadata, "version", version)

    choose("2.13.0+cpu")
    return choose
