"""How many steps may run at once: as many as there are cores, if the free memory is enough."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from aotbuild.runtime.machine import cores

STEP = 3 << 29
"""Bytes that a step takes at most, without its weights: torch, Inductor and the C++ compiler."""

_UNLIMITED = 1 << 60


def jobs(weights: int, free: int | None = None, most: int | None = None) -> int:
    """How many steps may run at once.

    Args:
        weights: Bytes of the largest weights that are known; a step may hold them twice, as they
            are and as they are packed.
        free: Bytes of memory that can be used; those of this machine or container when None.
        most: Cores that can be used; when None, those of this process.
    """
    free = free_memory() if free is None else free
    most = cores() if most is None else most
    # One more keeps the cores busy while others wait for the disk.
    return max(1, min(most + 1, free // (STEP + 2 * weights)))


def free_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that can be used without swapping, in this container."""
    return min(_of_machine(root), *_of_groups(root), _UNLIMITED)


def _of_machine(root: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _UNLIMITED


def _of_groups(root: Path) -> list[int]:
    """What each control group of this process leaves of its limit."""
    left = []
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                mount, names = "sys/fs/cgroup", ("memory.max", "memory.current")
            elif "memory" in controllers.split(","):
                mount = "sys/fs/cgroup/memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            else:
                continue
            top = root / mount
            place = top / path.lstrip("/")
            for directory in [place, *place.parents]:
                if directory == top.parent:
                    break
                with contextlib.suppress(OSError, ValueError):
                    # "max" is no number: there is no limit.
                    limit, used = (int((directory / name).read_text("ascii")) for name in names)
                    left.append(max(limit - used, 0))
    return left
