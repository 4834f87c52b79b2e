"""What the environment says of the cache: where it is, whether it is used, how large it may be."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aotbuild.errors import ConfigError

DIRECTORY = "AOTBUILD_CACHE_DIR"
MODE = "AOTBUILD_CACHE"
LIMIT = "AOTBUILD_CACHE_SIZE"
TIMEOUT = "AOTBUILD_CACHE_TIMEOUT"
EXPLAIN = "AOTBUILD_EXPLAIN"

OFF, READ, READ_WRITE = "off", "read", "readwrite"
_MODES = (OFF, READ, READ_WRITE)

_DEFAULT_LIMIT = "5G"
_DEFAULT_TIMEOUT = "5"
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_URL = re.compile(r"[A-Za-z][\w+.-]+(://|::)")
"""Of two letters at least: one letter is a drive of Windows."""


@dataclass(frozen=True)
class Settings:
    """How a build uses the cache."""

    mode: str
    """``off``, ``read`` or ``readwrite``."""
    directory: Path | None
    """The directory of this machine; None where the cache is off."""
    remote: str
    """The URL of a cache that machines share; empty without one."""
    limit: int
    """In bytes, for the directory of this machine; 0 for any size."""
    timeout: float
    """Seconds without progress after which a remote is given up."""
    named: bool
    """Whether the user named the place."""

    @property
    def writes(self) -> bool:
        """Whether anything may be written."""
        return self.mode == READ_WRITE and self.directory is not None


def cache_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: The environment; that of this process if None.

    Raises:
        ConfigError: A variable has a value that means nothing.
    """
    given = os.environ if environment is None else environment
    mode = given.get(MODE) or READ_WRITE
    if mode not in _MODES:
        raise ConfigError(
            f'there is no cache mode "{mode}"',
            where=f"environment: {MODE}",
            fix=f"set it to one of {', '.join(_MODES)}, or unset it",
        )
    limit = bytes_of(
        given.get(LIMIT) or _DEFAULT_LIMIT,
        where=f"environment: {LIMIT}",
        fix=f"write it as 500M or 2G (0 for any size); the default is {_DEFAULT_LIMIT}",
    )
    timeout = _seconds(given.get(TIMEOUT) or _DEFAULT_TIMEOUT)
    place = given.get(DIRECTORY, "")
    remote = place if _URL.match(place) else ""
    directory: Path | None = None
    if mode != OFF:
        directory = _user_directory(given) if remote or not place else _named(place)
        if directory is None and not remote:
            mode = OFF  # without a home, as some containers are
    return Settings(mode, directory, remote, limit, timeout, named=bool(place))


def explaining() -> bool:
    """Whether the user wants to know of hits, too."""
    return os.environ.get(EXPLAIN, "0") not in {"", "0"}


def _named(place: str) -> Path:
    path = Path(place).expanduser()
    if not path.is_absolute():
        raise ConfigError(
            f"the cache directory {place} is relative",
            where=f"environment: {DIRECTORY}",
            why="the steps of a build run in its build directory, which is mostly a temporary one",
            fix="write an absolute path, or an URL such as s3://bucket/cache",
        )
    return path


def _user_directory(given: Mapping[str, str]) -> Path | None:
    """Where the programs of a user keep what they can make again."""
    try:
        if sys.platform == "win32":
            local = given.get("LOCALAPPDATA")
            return (Path(local) if local else Path.home() / "AppData/Local") / "aotbuild" / "cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "aotbuild"
        base = given.get("XDG_CACHE_HOME", "")
        # One that is relative is to be ignored, says the specification of these directories.
        own = Path(base) if os.path.isabs(base) else Path.home() / ".cache"  # noqa: PTH117
    except RuntimeError:
        return None
    return own / "aotbuild" if own.is_absolute() else None


def bytes_of(text: str, *, where: str, fix: str) -> int:
    """Bytes, of a text such as ``2G``.

    Args:
        text: The text.
        where: Where it stands, for the message.
        fix: What to write there, for the message.

    Raises:
        ConfigError: It is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise ConfigError(f'"{text}" is no size', where=where, fix=fix)
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ConfigError(
            f'"{text}" is no number of seconds',
            where=f"environment: {TIMEOUT}",
            fix=f"write a number above 0; the default is {_DEFAULT_TIMEOUT}",
        )
    return seconds
