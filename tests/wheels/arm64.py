"""Running code for arm64 here, in qemu: programs, and Debian's Python with numpy.

The packages of that Python are unpacked once, into the user's cache. Tests are skipped, with the
reason, where the compiler, qemu or the packages cannot be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

COMPILER = "aarch64-linux-gnu-g++"
SYSROOT = "/usr/aarch64-linux-gnu"
"""Where Debian has the libraries of arm64 for its cross-compiler."""
PACKAGES = ("python3-minimal", "python3-numpy", "libstdc++6")
_LINKED = {"libblas.so.3": "blas", "liblapack.so.3": "lapack"}
"""Libraries that Debian's scripts, which are not run, would link from these directories."""


def why_not() -> str:
    """Why nothing can be compiled for arm64 and run here; empty where it can."""
    missing = [each for each in (COMPILER, "qemu-aarch64") if shutil.which(each) is None]
    if missing:
        return f"{' and '.join(missing)} (Debian: g++-aarch64-linux-gnu, qemu-user) not installed"
    return "" if os.uname().machine == "x86_64" else "this is no machine to cross-compile on"


def program(path: Path, *arguments: str | Path) -> list[str]:
    """The command that runs a program for arm64."""
    return ["qemu-aarch64", "-L", SYSROOT, str(path), *map(str, arguments)]


def python() -> list[str]:
    """The command of a Python for arm64 that has numpy, which is made where there is none."""
    if reason := why_not():
        pytest.skip(reason)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aotbuild-tests"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / "arm64"
    with FileLock(cache / "arm64.lock"):
        if not (root / "complete").exists():
            shutil.rmtree(root, ignore_errors=True)
            _unpack(root)
            (root / "complete").touch()
    (interpreter,) = (root / "usr" / "bin").glob("python3.[0-9]*[0-9]")
    return ["qemu-aarch64", "-L", str(root), str(interpreter)]


def _unpack(root: Path) -> None:
    """Fetch the packages, with all that they need, by an apt that only knows arm64."""
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get, which fetches the Python of arm64")
    apt = root / "apt"
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True)
    (apt / "status").touch()
    options = [
        *("-o", f"Dir::State={apt}", "-o", f"Dir::State::status={apt / 'status'}"),
        *("-o", f"Dir::Cache={apt}", "-o", "APT::Architecture=arm64"),
        *("-o", "APT::Architectures::=arm64", "-o", "Acquire::Languages=none"),
        *("-o", "APT::Sandbox::User=root", "-o", "Debug::NoLocking=1"),
    ]
    _run("apt-get", *options, "update")
    asked = ["install", "--yes", "--no-install-recommends", "--download-only", *PACKAGES]
    _run("apt-get", *options, *asked)
    for package in sorted((apt / "archives").glob("*.deb")):
        _run("dpkg-deb", "--extract", str(package), str(root))
    for name, directory in _LINKED.items():
        (found,) = root.glob(f"usr/lib/*/{directory}/{name}")
        (found.parents[1] / name).symlink_to(found)
    shutil.rmtree(apt)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"{command[0]} failed"]
        pytest.skip(f"the Python of arm64 cannot be had: {said[-1]}")


def run(code: str, path: Path, **variables: str) -> str:
    """Run code in the Python of arm64; what it printed.

    Args:
        code: The code.
        path: Directory of modules.
        variables: Of the environment.
    """
    done = subprocess.run(
        [*python(), "-P", "-c", code],
        env={"PYTHONPATH": str(path), "PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
