"""Compiling while the eager models are in use: a process of its own, one for a project."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LOG = "background.log"
_LOCK = "background.lock"
_PATIENCE = 60.0
"""Seconds in which what is stopped has to end; it ends what it has started before."""


def start(home: Path, root: Path) -> None:
    """Compile in the background, and swap the compiled models in.

    Args:
        home: The directory of what development makes.
        root: The directory of the project.
    """
    with _lock(home) as lock, (home / LOG).open("w", encoding="utf-8") as log:
        if not _taken(lock):  # by one that was started a moment ago
            return
        command = [sys.executable, "-P", "-m", "aotbuild", "develop", "--compile"]
        process = subprocess.Popen(
            [*command, "--project", str(root), "--in-background"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock.fileno()],  # it holds the lock as long as it runs
            start_new_session=True,
        )
        process.returncode = 0  # it outlives this process
        lock.truncate(0)
        lock.write(f"{process.pid}\n")


def runs(home: Path) -> bool:
    """Whether anything compiles in the background."""
    if not (home / _LOCK).exists():
        return False
    with _lock(home) as lock:
        return not _taken(lock)


def stop(home: Path) -> None:
    """Stop what compiles in the background, if anything does."""
    if not runs(home):
        return
    with _lock(home) as lock:
        end = time.monotonic() + _PATIENCE
        sent: int | None = None
        while not _taken(lock):
            late = time.monotonic() > end
            number = signal.SIGKILL if late else signal.SIGTERM
            lock.seek(0)
            process = lock.read().strip()
            if process and sent != number:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(int(process), number)
                sent = number
            if late:
                return
            time.sleep(0.05)


@contextlib.contextmanager
def _lock(home: Path) -> Iterator[IO[str]]:
    with (home / _LOCK).open("a+", encoding="utf-8") as lock:
        yield lock


def _taken(lock: IO[str]) -> bool:
    """Take the lock, unless what compiles in the background has it."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
