"""A cache that machines share, at any URL that fsspec knows.

Nothing here takes longer than the time that the user allows without progress: what hangs is left
behind in a thread of its own, which does not keep the process from ending. Work of this process is
progress, too: to import the package of a protocol takes seconds where many builds share a machine.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec.callbacks import Callback
from fsspec.core import url_to_fs

_READ_ONLY = {"http", "https"}

_SLOWEST = 1 << 18
"""Bytes a second that a line takes at least; some packages do not tell how far they are."""

_WORKED = 0.05
"""Seconds of the CPU that count as progress; to wait for an answer takes next to nothing."""


class RemoteError(Exception):
    """The remote cannot be used; the text says why."""


class _Progress(Callback):  # type: ignore[misc]  # fsspec has no types
    """Notes when bytes last went over the line, or this process last worked."""

    def __init__(self) -> None:
        super().__init__()
        self.last = time.monotonic()
        self._worked = time.process_time()

    def look(self) -> None:
        """Look whether this process has worked meanwhile."""
        worked = time.process_time()
        if worked - self._worked >= _WORKED:
            self._worked, self.last = worked, time.monotonic()

    def relative_update(self, inc: int = 1) -> None:
        super().relative_update(inc)
        self.last = time.monotonic()

    def absolute_update(self, value: int) -> None:
        super().absolute_update(value)
        self.last = time.monotonic()


class Remote:
    """Files by name below an URL.

    Args:
        url: The URL.
        timeout: Seconds without progress after which it is given up.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._opened: tuple[Any, str] | None = None

    def fetch(self, name: str, path: Path) -> bool:
        """Copy a file from there; whether there is one.

        Raises:
            RemoteError: It cannot be asked, or is too slow.
        """

        def get(progress: _Progress) -> bool:
            system, root = self._open()
            try:
                system.get_file(f"{root}/{name}", str(path), callback=progress)
            except FileNotFoundError:
                return False
            return path.exists()  # some create nothing for what is not there

        return bool(self._within_time(get, self._timeout))

    def send(self, path: Path, name: str) -> None:
        """Copy a file to there, unless it can only be read.

        Raises:
            RemoteError: It cannot be written, or is too slow.
        """

        def put(progress: _Progress) -> None:
            system, root = self._open()
            protocols = {system.protocol} if isinstance(system.protocol, str) else system.protocol
            if _READ_ONLY & set(protocols):
                return
            place = f"{root}/{name}"
            # An object is there as a whole or not at all; a file is renamed.
            own = f"{place}.{os.getpid()}.part" if "file" in protocols else place
            try:
                _put(system, path, own, progress)
                if own != place:
                    Path(own).replace(place)
            except BaseException:
                if own != place:
                    Path(own).unlink(missing_ok=True)
                raise

        self._within_time(put, self._timeout + path.stat().st_size / _SLOWEST)

    def _open(self) -> tuple[Any, str]:
        if self._opened is None:
            system, root = url_to_fs(self._url)
            self._opened = system, root.rstrip("/")
        return self._opened

    @staticmethod
    def _within_time(work: Callable[[_Progress], Any], patience: float) -> Any:
        """Work in a thread, as long as it goes on.

        Args:
            work: What is done.
            patience: Seconds that it may take without progress.

        Raises:
            RemoteError: It failed, or has not gone on for too long.
        """
        progress = _Progress()
        result: list[Any] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                result.append(work(progress))
            except BaseException as error:  # noqa: BLE001  # each package raises its own
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        while thread.is_alive():
            progress.look()
            left = progress.last + patience - time.monotonic()
            if left <= 0:
                raise RemoteError(f"no answer within {patience:.3g} s")
            thread.join(min(left, 1.0))
        if errors:
            raise RemoteError(_message(errors[0])) from errors[0]
        return result[0]


def _put(system: Any, path: Path, place: str, progress: _Progress) -> None:
    """Copy a file, into a directory that is made if there are such things and it is missing.

    A bucket is not made: its name may be a slip, and its owner pays for it.
    """
    try:
        system.put_file(str(path), place, callback=progress)
    except OSError:
        bucket = "" if place.startswith("/") else place.partition("/")[0]
        if bucket and not system.exists(bucket):
            raise
        system.makedirs(place.rpartition("/")[0], exist_ok=True)
        system.put_file(str(path), place, callback=progress)


def _message(error: BaseException) -> str:
    text = ""
    with contextlib.suppress(Exception):
        text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
