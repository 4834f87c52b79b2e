"""Targets: a device, plus what narrows it for the compiler."""

from __future__ import annotations

import platform
from dataclasses import dataclass

from aotbuild.errors import ToolchainError


@dataclass(frozen=True)
class Target:
    """What a library is compiled for."""

    name: str
    device: str
    march: str
    """The compiler's ``-march``, for every line of the library."""
    isa: str
    """Inductor's class of vector instructions, in ``torch._inductor.cpu_vec_isa``."""
    requires: tuple[str, ...]
    """CPU features used, by the names of ``torch.cpu.get_capabilities``."""


_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma3", "lzcnt")

TARGETS = {
    target.name: target
    for target in (
        Target("cpu-x86-64-v3", "cpu", "x86-64-v3", "VecAVX2", _V3),
        Target("cpu-armv8", "cpu", "armv8-a", "VecNEON", ()),
    )
}

_CPU_TARGETS = {
    "x86_64": "cpu-x86-64-v3",
    "amd64": "cpu-x86-64-v3",
    "aarch64": "cpu-armv8",
    "arm64": "cpu-armv8",
}


def default_target(device: str) -> Target:
    """The target for ``device`` on this machine's architecture."""
    machine = platform.machine().lower()
    if device != "cpu" or machine not in _CPU_TARGETS:
        raise ToolchainError(
            f"there is no target for {device} on {machine}",
            fix=f"build on one of {', '.join(sorted(_CPU_TARGETS))}",
        )
    return TARGETS[_CPU_TARGETS[machine]]
