"""The library that the tests of this folder call, compiled once for all workers."""

from __future__ import annotations

import os

import pytest
from filelock import FileLock
from library import ROOT, Library

# As in tests/wheels, whose builds link the same object files.
os.environ["AOTBUILD_CACHE_DIR"] = str(ROOT / "build" / "cache")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """All functions, for the CPUs that most machines have."""
    own = tmp_path_factory.getbasetemp()
    directory = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "standalone"
    with FileLock(f"{directory}.lock"):
        return Library(directory, "cpu-x86-64-v3")
