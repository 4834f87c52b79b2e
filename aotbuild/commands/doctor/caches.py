"""The cache on this machine, and the one that machines share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from aotbuild.cache.local import total_size
from aotbuild.cache.settings import DIRECTORY, MODE, OFF, cache_settings
from aotbuild.commands.doctor.finding import Finding, good, note, wrong
from aotbuild.errors import AotBuildError
from aotbuild.steps.reports.describing import size


def caches() -> Iterator[Finding]:
    """All findings about caches."""
    try:
        settings = cache_settings()
    except AotBuildError as error:
        yield wrong("cache", f"{error.what} ({error.where})", error.fix)
        return
    if settings.mode == OFF:
        yield note("cache", "off: each build compiles all models", f"unset {MODE}")
        return
    if settings.directory is not None:
        used = f"{settings.directory}: {size(total_size(settings.directory))}"
        limit = f" of {size(settings.limit)}" if settings.limit else ""
        if settings.writes and not _writable(settings.directory):
            yield note(
                "cache",
                f"{used}{limit}, which cannot be written",
                f"set {DIRECTORY} to another directory, or {MODE}=read",
            )
        else:
            yield good("cache", f"{used}{limit}")
    if settings.remote and importlib.util.find_spec("fsspec") is None:
        yield note(
            "shared cache",
            f"{settings.remote} cannot be reached: fsspec is not installed",
            "add fsspec, and what it needs for this kind of URL, to build-system.requires",
        )
    elif settings.remote:
        yield good("shared cache", settings.remote)


def _writable(directory: Path) -> bool:
    """Whether a directory, or the first one above that is there, can be written."""
    place = next(each for each in (directory, *directory.parents) if each.exists())
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
