"""Fixtures of the build tests: sample packages, built once, and environments to run them in."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from random_modules import write_random_modules
from wheels import (
    REPOSITORY,
    TORCH,
    Installed,
    compile_clip,
    copy_package,
    install,
    pip_wheel,
    write_lstm_weights,
    write_old_weights,
    write_speech_weights,
)

# All builds share precompiled headers and libraries, unless a test says otherwise.
os.environ["AOTBUILD_CACHE_DIR"] = str(REPOSITORY / "build" / "cache")

# Each worker of pytest has one core, more or less.
os.environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", "2")

LONGEST = (
    *("architectures", "calls", "weights", "rebuild", "options", "cache", "reproducible", "zoo"),
    *("recurrent_layers", "convolutions", "levels", "attention", "precision", "sources"),
    *("corners", "wrong_models", "frontends", "projects", "how_to", "develop", "releases"),
    "readme",
)
"""The files that take longest, which go first, so that all workers end at about the same time."""

PREPARE: dict[str, Callable[[Path], None]] = {
    "srcdir": write_speech_weights,
    "architectures": write_lstm_weights,
    "operators": compile_clip,
    "random_modules": write_random_modules,
    "values": write_old_weights,
}
"""What makes files of a sample package that are not in git."""


UNTIL = float(os.environ.get("TESTS_UNTIL") or "inf")
"""When no further test begins, in seconds since 1970: a run ended from outside tells nothing."""


def pytest_runtest_setup() -> None:
    if time.time() > UNTIL:
        pytest.skip("this machine is slow, and the time for this run is over")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def clean_python() -> Path:
    """The interpreter of an environment that holds torch and what torch needs, nothing else.

    They are those of this environment, by links: installing them again takes a minute. ``make
    demo`` installs a wheel into an environment of its own.
    """
    return _environment("clean", "torch")


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter without any package."""
    directory = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    return directory / "bin" / "python"


@pytest.fixture(scope="session")
def numpy_python() -> Path:
    """The interpreter of an environment that holds numpy and nothing else."""
    return _environment("numpy", "numpy")


@pytest.fixture(scope="session")
def ml_dtypes_python() -> Path:
    """The interpreter of an environment that holds numpy and ml_dtypes."""
    return _environment("ml-dtypes", "ml_dtypes")


def _environment(name: str, distribution: str) -> Path:
    """The interpreter of an environment with a distribution of this one and what that needs."""
    # Environments with another torch have others.
    directory = REPOSITORY / "build" / f"{name}-{Path(sys.prefix).name.lstrip('.')}"
    python = directory / "bin" / "python"
    directory.parent.mkdir(exist_ok=True)
    with FileLock(f"{directory}.lock"):
        if not (directory / "complete").exists():
            shutil.rmtree(directory, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
            site = next(directory.glob("lib/python*/site-packages"))
            for path in _files_of(distribution):
                (site / path.name).symlink_to(path)
            (directory / "complete").touch()
    return python


def _files_of(name: str) -> set[Path]:
    """What a distribution and those that it needs have at the top of site-packages."""
    found: dict[str, set[Path]] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}
        found[name] = {Path(str(distribution.locate_file(top))) for top in tops}
        for text in distribution.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                visit(canonicalize_name(requirement.name))

    visit(name)
    return {path for paths in found.values() for path in paths if path.name != "__pycache__"}


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a sample package to a directory of its own."""
    return functools.partial(copy_package, tmp_path)


@pytest.fixture(scope="session")
def installed(
    tmp_path_factory: pytest.TempPathFactory, clean_python: Path
) -> Callable[[str], Installed]:
    """Builds and installs a sample package once for the tests of all workers."""
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    @functools.cache
    def build_and_install(name: str, runtime: str = TORCH) -> Installed:
        directory = common / f"package-{name}-{runtime}"
        log = directory / "pip.log"
        with FileLock(f"{directory}.lock"):
            if log.exists():
                (wheel,) = (directory / f"{name}-wheels").glob("*.whl")
                return Installed(wheel, directory / "installed", log.read_text(), clean_python)
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            copy = copy_package(directory, name, runtime)
            if name in PREPARE:
                PREPARE[name](copy)
            found = install(pip_wheel(copy), directory / "installed", clean_python)
            log.write_text(found.output)
            return found

    return build_and_install


@pytest.fixture
def bench_python(tmp_path: Path) -> Path:
    """An environment of one test's own that sees torch, scikit-build-core and aotbuild."""
    directory = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    site = next(directory.glob("lib/python*/site-packages"))
    (site / "outer.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return directory / "bin" / "python"
