"""Targets: a device, plus what narrows it for the compiler."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aotbuild.errors import ConfigError, ToolchainError


@dataclass(frozen=True)
class Target:
    """What a library is compiled for."""

    name: str
    device: str
    architecture: str
    """Of the CPU that it runs on, or beside."""
    level: str
    """The CPU level."""
    march: str
    """The compiler's ``-march``, for every line of the library."""
    isa: str
    """Inductor's class of vector instructions, in ``torch._inductor.cpu_vec_isa``; none if
    empty."""
    requires: tuple[str, ...]
    """CPU features used, by the names of ``torch.cpu.get_capabilities``."""
    onednn: str = ""
    """oneDNN's name of the instructions that weights are packed for, in ``ONEDNN_MAX_CPU_ISA``."""
    flags: frozenset[str] = frozenset()
    """Those that tell the level from the one below, by the names of ``/proc/cpuinfo``."""

    @property
    def platform(self) -> str:
        """Operating system and architecture that its libraries run on."""
        return f"{sys.platform}-{self.architecture}"

    @property
    def cross(self) -> str:
        """Its architecture, where that is not this machine's; else empty."""
        return "" if self.architecture == this_architecture() else self.architecture


_V2 = ("popcnt", "sse3", "sse4_1", "sse4_2", "ssse3")
_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma3", "lzcnt")
_V4 = ("avx512_bw", "avx512_cd", "avx512_dq", "avx512_f", "avx512_vl")


def _cpu(
    level: str,
    architecture: str,
    isa: str,
    requires: tuple[str, ...],
    onednn: str = "",
    flags: str = "",
) -> Target:
    march = f"{level}-a" if architecture == "aarch64" else level
    name = f"cpu-{level}"
    names = frozenset(flags.split())
    return Target(name, "cpu", architecture, level, march, isa, requires, onednn, names)


TARGETS = {
    target.name: target
    for target in (
        _cpu("x86-64-v2", "x86_64", "", _V2, "SSE41", "pni ssse3 sse4_1 sse4_2 popcnt"),
        _cpu("x86-64-v3", "x86_64", "VecAVX2", _V3, "AVX2", "avx avx2 bmi1 bmi2 f16c fma abm"),
        _cpu(
            "x86-64-v4",
            "x86_64",
            "VecAVX512",
            (*_V3, *_V4),
            "AVX512_CORE",
            "avx512f avx512bw avx512cd avx512dq avx512vl",
        ),
        _cpu("armv8", "aarch64", "VecNEON", ()),
    )
}
"""Each architecture's from the lowest level to the highest."""

LEVELS = tuple(target.level for target in TARGETS.values() if target.device == "cpu")
"""The CPU levels that can be compiled for."""

AUTO = "auto"
"""In place of levels: the usual one, and a higher one where it pays."""

_USUAL = ("x86-64-v3", "armv8")
_HIGHER = ("x86-64-v4",)

_ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


def this_architecture() -> str:
    """The architecture of this machine's CPU.

    Raises:
        ToolchainError: Nothing can be compiled for it.
    """
    machine = platform.machine().lower()
    if machine not in _ARCHITECTURES:
        raise ToolchainError(
            f"there is no target for {machine}",
            fix=f"build on one of {', '.join(sorted(_ARCHITECTURES))}",
        )
    return _ARCHITECTURES[machine]


TARGET_VARIABLE = "AOTBUILD_TARGET"
"""Names the platform to build for, where that is not this machine's."""

_CROSS_COMPILED = {"x86_64": ["aarch64"]}
"""The architectures that can be compiled for on another one, on Linux."""


def built_architecture() -> str:
    """The architecture that this build is for: that of ``AOTBUILD_TARGET``, else this machine's.

    Raises:
        ConfigError: The variable names what cannot be built for here.
        ToolchainError: Nothing can be compiled for this machine.
    """
    own = this_architecture()
    wanted = os.environ.get(TARGET_VARIABLE) or f"{sys.platform}-{own}"
    others = _CROSS_COMPILED.get(own, []) if sys.platform == "linux" else []
    known = {f"{sys.platform}-{name}": name for name in (own, *others)}
    if wanted not in known:
        raise ConfigError(
            f'"{wanted}" cannot be built for here',
            where=f"environment: {TARGET_VARIABLE}",
            why=f"on {sys.platform}-{own} it may be {' or '.join(known)}",
            fix="correct it, or unset it to build for this machine",
        )
    return known[wanted]


def cross_architecture() -> str:
    """The architecture that this build is for where that is not this machine's; empty else.

    Raises:
        ConfigError: ``AOTBUILD_TARGET`` names what cannot be built for here.
        ToolchainError: Nothing can be compiled for this machine.
    """
    if not os.environ.get(TARGET_VARIABLE):  # also on machines that nothing is known of
        return ""
    built = built_architecture()
    return built if built != this_architecture() else ""


def cpu_targets(levels: Sequence[str]) -> list[Target]:
    """The targets of CPU levels on the architecture that is built for, the lowest level first.

    Raises:
        ConfigError: ``AOTBUILD_TARGET`` names what cannot be built for here.
        ToolchainError: Nothing can be compiled for this machine.
    """
    own = built_architecture()
    return [t for t in TARGETS.values() if t.level in levels and t.architecture == own]


def lowest(target: Target) -> Target:
    """The lowest CPU level of a target's architecture, whose code runs for every other one."""
    return next(t for t in TARGETS.values() if t.architecture == target.architecture)


def usual_targets() -> list[Target]:
    """The targets whose level is compiled for where none is asked for."""
    return cpu_targets(_USUAL)


def higher_targets() -> list[Target]:
    """The targets above the usual one that this machine can run, to find out if they pay."""
    return [target for target in cpu_targets(_HIGHER) if target.flags <= _flags()]


def possible_targets() -> list[Target]:
    """The usual targets of the architecture and those above, whatever this machine's CPU has."""
    return cpu_targets((*_USUAL, *_HIGHER))


def _flags() -> set[str]:
    """The features of this machine's CPU as Linux tells them; elsewhere none are known."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())
