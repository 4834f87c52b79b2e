"""How many steps run at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from aotbuild.steps.plan.jobs import STEP, free_memory, jobs

GIGABYTE = 1 << 30


@pytest.mark.parametrize(
    ("free", "cores", "weights", "expected"),
    [
        (64 * GIGABYTE, 2, 0, 3),
        (64 * GIGABYTE, 16, 0, 17),
        (8 * GIGABYTE, 16, 0, 5),
        (64 * GIGABYTE, 16, 10 * GIGABYTE, 2),
        (GIGABYTE, 16, 0, 1),
        (0, 1, 0, 1),
    ],
)
def test_as_many_steps_as_cores_and_memory_allow(
    free: int, cores: int, weights: int, expected: int
) -> None:
    assert jobs(weights, free, cores) == expected


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


MEMINFO = "MemTotal: 16000000 kB\nMemFree: 1 kB\nMemAvailable: 8000000 kB\n"


def test_the_free_memory_of_the_machine(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": MEMINFO})
    assert free_memory(tmp_path) == 8000000 * 1024


def test_a_container_has_less(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/job"
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/job/step\n",
            f"{group}/memory.max": f"{3 * STEP}\n",
            f"{group}/memory.current": f"{STEP}\n",
            f"{group}/step/memory.max": "max\n",
            f"{group}/step/memory.current": "5\n",
        },
    )
    assert free_memory(tmp_path) == 2 * STEP


def test_an_older_container_has_less(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory/job"
    write(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "5:cpu,cpuacct:/job\n4:memory:/job\n",
            f"{group}/memory.limit_in_bytes": f"{STEP}\n",
            f"{group}/memory.usage_in_bytes": f"{2 * STEP}\n",
        },
    )
    assert free_memory(tmp_path) == 0


def test_without_anything_to_read_memory_does_not_limit(tmp_path: Path) -> None:
    assert free_memory(tmp_path) > GIGABYTE // 2


def test_this_machine_can_be_asked() -> None:
    assert free_memory() > 0
    assert jobs(0) >= 1
