"""``cache``: what is in the cache of this machine, and removing some of it."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from pathlib import Path

from aotbuild.cache.local import Kind, kinds, remove
from aotbuild.cache.local import prune as prune_to
from aotbuild.cache.settings import DIRECTORY, MODE, cache_settings
from aotbuild.commands.tables import print_heading, print_json, print_table
from aotbuild.errors import ConfigError
from aotbuild.steps.reports.describing import size

_DAY = 86400.0


@dataclass(frozen=True)
class CacheReport:
    """What is in the cache of this machine."""

    directory: str
    size: int
    """Bytes of all entries."""
    limit: int
    """Bytes that it may have; 0 for any number."""
    kinds: list[Kind]
    format: int = 1


def show(*, json: bool = False) -> int:
    """Print what is in the cache.

    Args:
        json: Whether it is printed as JSON.

    Raises:
        ConfigError: There is none.
    """
    directory, limit = _place()
    found = kinds(directory)
    report = CacheReport(str(directory), sum(kind.size for kind in found), limit, found)
    if json:
        print_json(report)
        return 0
    most = f" of {size(limit)}" if limit else ""
    print_heading(report.directory, f": {size(report.size)}{most}")
    if found:
        print_table(
            ("of", "entries", "size", "last used"),
            [(each.name, f"{each.entries:,}", size(each.size), _day(each.used)) for each in found],
            (1, 2),
        )
    return 0


def prune(limit: int | None, days: float | None) -> int:
    """Remove entries, and print how many.

    Args:
        limit: The bytes that are to be left at most, of what was used last; None to keep all.
        days: Entries that were not used for so many days go; None to keep them.

    Raises:
        ConfigError: There is no cache.
    """
    directory, _ = _place()
    before = kinds(directory)
    if days is not None:
        remove(directory, time.time() - days * _DAY)
    if limit is not None:
        prune_to(directory, limit) if limit else remove(directory, time.time())
    after = kinds(directory)
    gone = sum(kind.entries for kind in before) - sum(kind.entries for kind in after)
    freed = sum(kind.size for kind in before) - sum(kind.size for kind in after)
    left = sum(kind.size for kind in after)
    print_heading(f"removed {gone:,} entries of {size(freed)}, {size(left)} are left")
    return 0


def _place() -> tuple[Path, int]:
    settings = cache_settings()
    if settings.directory is None:
        raise ConfigError(
            "there is no cache on this machine",
            where="environment",
            why=f"{MODE} is off, or there is no home directory",
            fix=f"unset {MODE}, or set {DIRECTORY} to a directory",
        )
    return settings.directory, settings.limit


def _day(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
