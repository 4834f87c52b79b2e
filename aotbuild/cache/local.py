"""The directory of the cache on this machine: entries as files, the least recently used go first.

Each file is written under a name of its own and renamed, so that a reader finds it whole or not at
all, whatever happens to whoever writes it. A hit touches the file: its time tells its last use.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEADERS = "headers"
"""Directories of precompiled headers, which the compiler keeps open by their names."""

_TEMPORARY = ".tmp-"
_STALE = 3600.0
"""Seconds after which nobody writes a temporary file any more, or compiles with headers."""
_KEPT = 0.9
"""The part of the limit that is left when entries are removed, so that they seldom have to be."""


@dataclass(frozen=True)
class _Item:
    path: Path
    used: float
    size: int


def create(directory: Path) -> None:
    """Make a directory of the cache, which is nobody else's.

    Raises:
        OSError: It cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextlib.contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A name of one's own beside ``path``, whose file is removed unless it was renamed."""
    own = path.with_name(f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield own
    finally:
        with contextlib.suppress(OSError):
            own.unlink(missing_ok=True)


def touch(path: Path) -> None:
    """Note that a file, or a directory of headers, is used."""
    with contextlib.suppress(OSError):  # a cache that can only be read is of use as well
        os.utime(path)


def prune(directory: Path, limit: int) -> None:
    """Remove what was not used for longest, if there is too much, and what was left half-written.

    Args:
        directory: The directory of the cache.
        limit: In bytes; 0 for any size.
    """
    now = time.time()
    items = []
    for item in _items(directory):
        if item.path.name.startswith("."):  # also a directory of headers is at first
            if now - item.used > _STALE:
                _remove(item.path)
            continue
        items.append(item)
    total = sum(item.size for item in items)
    if not limit or total <= limit:
        return
    for item in sorted(items, key=lambda item: item.used):
        if total <= limit * _KEPT:
            break
        if item.path.parent.name == HEADERS and now - item.used < _STALE:
            continue
        _remove(item.path)
        total -= item.size


@dataclass(frozen=True)
class Kind:
    """All entries of one kind."""

    name: str
    entries: int
    size: int
    """Bytes."""
    used: float
    """When one of them was last used, in seconds since the epoch."""


def kinds(directory: Path) -> list[Kind]:
    """What is in the directory of the cache, by kinds, the largest first."""
    items: dict[str, list[_Item]] = {}
    for item in _items(directory):
        if not item.path.name.startswith("."):
            kind = item.path.relative_to(directory).parts[0]
            items.setdefault(kind, []).append(item)
    found = [
        Kind(name, len(each), sum(i.size for i in each), max(i.used for i in each))
        for name, each in items.items()
    ]
    return sorted(found, key=lambda kind: -kind.size)


def total_size(directory: Path) -> int:
    """The bytes of all entries."""
    return sum(kind.size for kind in kinds(directory))


def remove(directory: Path, before: float) -> tuple[int, int]:
    """Remove what was not used since a time, but no headers that a build may compile with.

    Args:
        directory: The directory of the cache.
        before: In seconds since the epoch.

    Returns:
        How many entries were removed, and how many bytes they had.
    """
    now = time.time()
    count = size = 0
    for item in [*_items(directory)]:
        own = item.path.name.startswith(".") or item.path.parent.name == HEADERS
        if item.used >= before or (own and now - item.used < _STALE):
            continue
        _remove(item.path)
        if not item.path.exists():
            count, size = count + 1, size + item.size
    return count, size


def _items(directory: Path) -> Iterator[_Item]:
    """What can be removed: files at any depth, and each directory of headers as one."""
    for path in _listed(directory):
        with contextlib.suppress(OSError):
            status = path.stat(follow_symlinks=False)
            if not path.is_dir():
                if path.suffix != ".lock":
                    yield _Item(path, status.st_mtime, status.st_size)
            elif directory.name == HEADERS:
                sizes = (file.stat().st_size for file in path.rglob("*") if file.is_file())
                yield _Item(path, status.st_mtime, sum(sizes))
            else:
                yield from _items(path)


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
