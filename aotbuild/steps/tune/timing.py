"""Timing several ways to compute one thing beside one another, on one thread."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from aotbuild.runtime.engines import Run

_ROUNDS = 25
_FEWEST = 5
_BLOCK = 0.02
"""Seconds that one arm runs in a round, if a call does not take longer."""
_LONGEST = 10.0
"""Seconds for each arm after which the rounds end, fewer than wanted."""

_SMALL = 1 << 16
"""Bytes of a buffer that takes no time to copy."""

_LOCK = Path("timing.lock")


def repeatable(run: Run, tensors: Sequence[torch.Tensor], changed: Sequence[int]) -> Run:
    """What runs a model that changes some of its inputs, again and again as if it were new.

    Counters and small buffers get their values back before each call: a cache would be full after
    some. The values of large ones do not matter for the time.

    Args:
        run: Runs the model.
        tensors: What it is called with.
        changed: The positions of the inputs that it changes.
    """
    kept = [
        (i, tensors[i].clone())
        for i in changed
        if tensors[i].nbytes <= _SMALL or not tensors[i].is_floating_point()
    ]
    if not kept:
        return run

    def restored(given: list[torch.Tensor]) -> list[torch.Tensor]:
        for i, value in kept:
            given[i].copy_(value)
        return run(given)

    return restored


def rounds(arms: Mapping[str, Run], tensors: Sequence[torch.Tensor]) -> dict[str, list[float]]:
    """Time arms in turns, so that whatever slows the machine down for a while hits all of them.

    Args:
        arms: What runs, by name.
        tensors: What each is called with.

    Returns:
        For each arm the seconds of a call, one for each round.
    """
    given = list(tensors)
    torch.set_num_threads(1)
    with torch.no_grad():
        counts = {name: _count(run, given) for name, run in arms.items()}
        times: dict[str, list[float]] = {name: [] for name in arms}
        end = time.monotonic() + _LONGEST * len(arms)
        for done in range(_ROUNDS):
            if done >= _FEWEST and time.monotonic() >= end:
                break
            for name, run in arms.items():
                times[name].append(_seconds(run, given, counts[name]) / counts[name])
    return times


def seconds(run: Run, tensors: Sequence[torch.Tensor]) -> float:
    """Roughly how long a call takes on one thread, after one to warm up."""
    given = list(tensors)
    torch.set_num_threads(1)
    with torch.no_grad():
        _seconds(run, given, 1)
        return _seconds(run, given, 1)


def _count(run: Run, tensors: list[torch.Tensor]) -> int:
    """How many calls fill a block, after some to warm up."""
    _seconds(run, tensors, 2)
    return max(1, int(_BLOCK / max(_seconds(run, tensors, 1), 1e-6)))


def _seconds(run: Run, tensors: list[torch.Tensor], count: int) -> float:
    # All is done by this thread: while others have its core, its own time stands still.
    start = time.thread_time()
    for _ in range(count):
        run(tensors)
    return time.thread_time() - start


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One step of the build at a time measures; others may compile meanwhile."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with _LOCK.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
