"""From what each variant was last made, so that a build can tell what has changed since."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TypeAlias

from aotbuild.cache import local
from aotbuild.cache.settings import Settings

Parts: TypeAlias = dict[str, dict[str, str]]
"""What a key is made of: by the name of a part, by a name in it, a short value or a digest."""

_DIRECTORY = "history"


def key_of(parts: Parts) -> str:
    """The key of an entry."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class History:
    """What was last made of one thing, for each of its targets.

    Args:
        settings: How the cache is used.
        thing: What tells it from all others.
    """

    def __init__(self, settings: Settings, *thing: str) -> None:
        self._settings = settings
        name = hashlib.sha256(json.dumps(thing).encode()).hexdigest()[:32]
        own = settings.directory
        self._directory = own / _DIRECTORY / name if own is not None else None

    def last(self, target: str) -> Parts | None:
        """From what it was made last for a target."""
        if self._directory is None:
            return None
        try:
            parts = json.loads((self._directory / target).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return parts if isinstance(parts, dict) else None

    def targets(self) -> list[str]:
        """For what it was made."""
        if self._directory is None:
            return []
        try:
            names = os.listdir(self._directory)  # noqa: PTH208  # names are all that is wanted
        except OSError:
            return []
        return sorted(name for name in names if not name.startswith("."))

    def note(self, target: str, parts: Parts) -> None:
        """Note from what it was made, if that can be written."""
        if self._directory is None or not self._settings.writes:
            return
        text = json.dumps(parts, sort_keys=True)
        path = self._directory / target
        try:
            local.create(self._directory)
            with local.temporary(path) as own:
                own.write_text(text, encoding="utf-8")
                own.replace(path)
        except OSError:
            return  # the store says so
