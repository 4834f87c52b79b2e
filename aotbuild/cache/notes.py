"""What was already said in a build, whose steps are processes of their own."""

from __future__ import annotations

import time
from pathlib import Path

_DIRECTORY = "cache-notes"
_FORGOTTEN = 600.0
"""Seconds after which a note is of an earlier build, which was not begun anew."""


class Notes:
    """Things that are said once.

    Args:
        build: The directory of the build, which all of its steps see; None where this process is
            all that there is.
    """

    def __init__(self, build: Path | None) -> None:
        self._directory = build / _DIRECTORY if build is not None else None
        self._known: set[str] = set()

    def first(self, what: str) -> bool:
        """Whether this is said for the first time; it is noted."""
        if what in self._known:
            return False
        self._known.add(what)
        if self._directory is None:
            return True
        note = self._directory / what
        try:
            self._directory.mkdir(exist_ok=True)
            if note.exists() and not _is_fresh(note):
                note.unlink(missing_ok=True)
            note.touch(exist_ok=False)
        except FileExistsError:
            return False
        except OSError:  # the build says so itself, sooner or later
            return True
        return True

    def has(self, what: str) -> bool:
        """Whether it was said."""
        return what in self._known or (
            self._directory is not None and _is_fresh(self._directory / what)
        )

    def clear(self) -> None:
        """Begin anew, as at the start of a build."""
        self._known.clear()
        if self._directory is not None and self._directory.is_dir():
            for note in self._directory.iterdir():
                note.unlink(missing_ok=True)


def _is_fresh(note: Path) -> bool:
    try:
        return time.time() - note.stat().st_mtime < _FORGOTTEN
    except OSError:
        return False
