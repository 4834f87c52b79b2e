"""Compiling while the eager models are in use: a process of its own, one for a project."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_LOCK = "background.lock"
_PATIENCE = 10.0
"""Seconds in which what was interrupted has to end."""


def start(home: Path, root: Path) -> None:
    """Compile in the background, and swap the compiled models in.

    Args:
        home: The directory of what development makes.
        root: The directory of the project.
    """
    import fcntl

    lock = (home / _LOCK).open("w", encoding="utf-8")
    with lock, (home / "background.log").open("w", encoding="utf-8") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
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
        lock.write(f"{process.pid}\n")


def stop(home: Path) -> bool:
    """Stop what compiles in the background, if anything does; whether it did."""
    import fcntl

    try:
        lock = (home / _LOCK).open(encoding="utf-8")
    except OSError:
        return False
    with lock:
        stopped = False
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass
            else:
                return stopped
            lock.seek(0)
            number = lock.read().strip()
            late = time.monotonic() > end
            with contextlib.suppress(ProcessLookupError):
                if number and (late or not stopped):
                    os.killpg(int(number), signal.SIGKILL if late else signal.SIGINT)
                    stopped = True
            time.sleep(0.05)
