"""The machine: its CPU, its memory, its disk, its C library, its accelerators."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator

from aotbuild.commands.doctor.finding import Finding, good, note, wrong
from aotbuild.errors import ToolchainError
from aotbuild.runtime.machine import cores
from aotbuild.steps.reports.describing import size
from aotbuild.target import higher_targets, this_architecture, usual_targets

_OF_A_STEP = 2e9
"""Bytes that one step may take: torch, Inductor and g++ at once, for a model of medium size."""

_OF_A_BUILD = 2e9
"""Bytes of the disk that a build in isolation takes, most of them for torch."""

_TOOLS = {"nvidia-smi": "NVIDIA", "rocm-smi": "AMD", "xpu-smi": "Intel"}


def machine() -> Iterator[Finding]:
    """All findings about the machine."""
    yield _cpu()
    yield _memory()
    yield _disk()
    yield _libc()
    yield _accelerators()


def _cpu() -> Finding:
    try:
        architecture = this_architecture()
        levels = [target.level for target in (*usual_targets(), *higher_targets())]
    except ToolchainError as error:
        return wrong("CPU", error.what, error.fix)
    count = cores()
    told = f"{architecture}, {count} core{'s' * (count > 1)} for this process"
    return good("CPU", f"{told}; models are compiled for {', '.join(levels)}")


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return note("memory", "not known")
    at_once = int(os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or cores())
    if total < _OF_A_STEP * at_once:
        return note(
            "memory",
            f"{size(total)}, for {at_once} steps at once that may take {size(int(_OF_A_STEP))} "
            "each",
            "set CMAKE_BUILD_PARALLEL_LEVEL to a smaller number where a step is killed",
        )
    return good("memory", f"{size(total)}, for {at_once} steps at once")


def _disk() -> Finding:
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    told = f"{size(free)} free in {place}, where pip builds"
    if free < _OF_A_BUILD:
        return note("disk", told, "free some space, or point TMPDIR at a larger disk")
    return good("disk", told)


def _libc() -> Finding:
    name, version = platform.libc_ver()
    if sys.platform != "linux":
        return good("C library", f"that of {platform.platform(terse=True)}")
    if name != "glibc":
        return note(
            "C library",
            "not glibc",
            "torch has wheels for glibc only: build in an image of Debian, Ubuntu or Fedora",
        )
    return good("C library", f"glibc {version}; libraries are linked for those of older systems")


def _accelerators() -> Finding:
    found = [maker for tool, maker in _TOOLS.items() if shutil.which(tool)]
    there = f"a driver of {' and '.join(found)}" if found else "none"
    return good("accelerators", f"{there}; models are compiled for CPUs")
