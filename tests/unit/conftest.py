"""Fixtures of the unit tests: project directories, and packages imported for one test."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from samples import (
    Compute,
    Loaded,
    LoadPackage,
    SetTorch,
    echo,
    sample_manifest,
    write_package,
    write_project,
)

from aotbuild.runtime.manifest import Manifest


@pytest.fixture(autouse=True)
def any_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled here: any program serves as the compiler that is looked for."""
    monkeypatch.setenv("CXX", sys.executable)


@pytest.fixture(autouse=True)
def no_higher_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan is the same, whatever this machine's CPU has beyond the usual level."""
    monkeypatch.setattr("aotbuild.target._flags", set)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked for, or left, in the cache of who runs the tests."""
    monkeypatch.setenv("AOTBUILD_CACHE", "off")


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks that a test calls show nothing, and start no thread in its process."""
    monkeypatch.setenv("AOTBUILD_PROGRESS", "0")


@pytest.fixture(autouse=True)
def no_torch_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no environment around that of the build, with a torch of its own."""
    outer = str(tmp_path / "outside")
    monkeypatch.setattr(
        "aotbuild.hook.requirement.sysconfig", SimpleNamespace(get_path=lambda _: outer)
    )
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)


@pytest.fixture
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


@pytest.fixture
def fresh_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget at the end every module that the test imported, and its sys.path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        # torch registers things when its own modules are imported; those must stay.
        if not name.startswith(("torch", "aotbuild", "numpy", "sympy")):
            del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without a mistake."""
    return write_project(tmp_path / "project")


@pytest.fixture
def load_package(
    tmp_path: Path, fresh_imports: None, monkeypatch: pytest.MonkeyPatch
) -> LoadPackage:
    """Write a package of compiled models and import it, with no library behind it."""
    del fresh_imports
    monkeypatch.delenv("AOTBUILD_DEVICE", raising=False)

    def load(
        *manifests: Manifest,
        tensors: Mapping[str, torch.Tensor] | None = None,
        compute: Compute = echo,
        before: Callable[[Path, Sequence[Manifest]], None] | None = None,
    ) -> Loaded:
        directory = tmp_path / "site" / "sample_models"
        written = write_package(directory, manifests or [sample_manifest()], tensors)
        if before is not None:
            before(directory, written)
        sys.path.insert(0, str(directory.parent))
        return Loaded(directory.name, compute)

    return load
