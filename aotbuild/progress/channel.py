"""The pipe through which the processes of a build tell what they do, and the thread that reads it.

A named pipe: neither CMake nor what starts it hands other files on to the steps.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Protocol

from aotbuild.progress.events import Event, event_of

_TICK = 0.5
"""Seconds after which a listener is called at the latest."""
_PATIENCE = 2.0
"""Seconds that a listener may take for what is left at the end."""
_LAST = b""
"""A line that tells nothing, and that all others are before."""


class Listener(Protocol):
    """Who shows what is told."""

    def receive(self, event: Event, now: float) -> None:
        """Take an event.

        Args:
            event: The event.
            now: The time.
        """

    def tick(self, now: float) -> None:
        """Look at the time.

        Args:
            now: The time.
        """


class Channel:
    """A pipe, and a thread that hands on what comes through it.

    Args:
        listener: Who gets it, in that thread.

    Raises:
        OSError: There can be no pipe here.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._directory = tempfile.mkdtemp(prefix="aotbuild-")
        self.path = str(Path(self._directory, "progress"))
        """What is to be in ``AOTBUILD_PROGRESS`` of the build."""
        try:
            self._reading, self._writing = _opened(self.path)
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        self._drained = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="aotbuild", daemon=True)
        self._thread.start()

    def close(self, wait: float = 0.0) -> bool:
        """Remove the pipe, once all that was told so far has been shown.

        Args:
            wait: Seconds to wait for the processes of the build that are still there.

        Returns:
            Whether all of them have ended.
        """
        with contextlib.suppress(OSError):
            os.write(self._writing, _LAST + b"\n")
            self._drained.wait(_PATIENCE)
        shutil.rmtree(self._directory, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._writing)
        self._thread.join(wait)
        return not self._thread.is_alive()

    def _serve(self) -> None:
        begun = b""
        while True:
            ready, _, _ = select.select([self._reading], [], [], _TICK)
            if ready:
                data = os.read(self._reading, 1 << 16)
                if not data:  # nobody has the other end open
                    break
                *lines, begun = (begun + data).split(b"\n")
                for line in lines:
                    if line == _LAST:
                        self._drained.set()
                    event = event_of(line.decode("utf-8", "replace"))
                    if event is not None:
                        self._listener.receive(event, time.monotonic())
            self._listener.tick(time.monotonic())
        os.close(self._reading)


def _opened(path: str) -> tuple[int, int]:
    """Make a pipe, and open both of its ends: it would end where no step has it open."""
    if not hasattr(os, "mkfifo"):
        raise OSError("this system has no named pipes")
    os.mkfifo(path, 0o600)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return reading, os.open(path, os.O_WRONLY)
