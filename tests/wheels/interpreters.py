"""Other Pythons: where they are, and the engine of a package for one without the GIL."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from aotbuild.runtime.integrity import identify
from aotbuild.runtime.manifest import Manifest

VARIABLE = "AOTBUILD_PYTHONS"
"""Further interpreters, or directories of them, apart by ``os.pathsep``."""

VERSIONS = ("3.11", "3.12", "3.13", "3.13t", "3.14", "3.14t", "3.15", "3.15t")
"""Those that are looked for; ``t`` is without the GIL."""

_TELL = "import sys; print('.'.join(map(str, sys.version_info[:2])) + sys.abiflags)"
_ENGINE_NEEDS = ("packaging", "elftools")
"""What the step ``engine`` imports besides aotbuild; nothing of it is compiled."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that is here."""

    version: str
    path: Path

    @property
    def free_threaded(self) -> bool:
        """Whether it is one without the GIL."""
        return self.version.endswith("t")


def interpreter(version: str) -> Interpreter:
    """The interpreter of a version; without one the test is skipped."""
    for path in _candidates(version):
        if path.is_file() and _version_of(path) == version:
            return Interpreter(version, path)
    pytest.skip(f"there is no python{version} on PATH, in pyenv or in {VARIABLE}")


def _candidates(version: str) -> list[Path]:
    name = f"python{version}"
    found = []
    for given in os.environ.get(VARIABLE, "").split(os.pathsep):
        path = Path(given)
        found += [path / name, path / "bin" / name] if path.is_dir() else [path]
    found += [Path(directory) / name for directory in os.get_exec_path()]
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    return found + sorted(root.glob(f"{version.rstrip('t')}.*/bin/{name}"))


@functools.cache
def _version_of(path: Path) -> str:
    """The version that a program tells; empty if it tells none, as a shim of pyenv."""
    done = subprocess.run([path, "-c", _TELL], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def build_engine(python: Interpreter, directory: Path) -> Path:
    """Compile the engine for an interpreter, by the step of a build that runs there.

    Args:
        python: The interpreter.
        directory: Where the engine goes, with all else that the step needs.
    """
    site = directory / "site"
    site.mkdir(parents=True)
    for name in ("aotbuild", *_ENGINE_NEEDS):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        (site / name).symlink_to(Path(spec.origin).parent)
    metadata = importlib.metadata.distribution("aotbuild").locate_file("")
    for path in Path(str(metadata)).glob("aotbuild-*.dist-info"):
        (site / path.name).symlink_to(path)
    spec_file = directory / "engine.json"
    tools = {"aotbuild": "", "torch": ""}
    spec_file.write_text(json.dumps({"output": str(directory / "engine"), "tools": tools}))
    done = subprocess.run(
        [python.path, "-P", "-m", "aotbuild.steps", "engine", spec_file],
        env={**os.environ, "PYTHONPATH": str(site), "AOTBUILD_CACHE_DIR": str(directory / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (engine,) = (directory / "engine").glob("_engine.*.so")
    return engine


def replace_engine(package: Path, engine: Path) -> None:
    """Put another engine in the place of that of a package, and its digest into the manifests.

    Args:
        package: Directory of the package of models.
        engine: The other engine; it keeps its name.
    """
    for old in (package / "_runtime").glob("_engine.*.so"):
        old.unlink()
    name = f"_runtime/{engine.name}"
    shutil.copy(engine, package / name)
    for path in package.rglob("model.json"):
        manifest = Manifest.read(path)
        files = [file for file in manifest.files if not file.file.startswith("_runtime/_engine.")]
        files.append(identify(package / name, name))
        path.write_text(dataclasses.replace(manifest, files=files).to_json(), "utf-8")
