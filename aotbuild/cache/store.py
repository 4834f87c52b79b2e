"""The store: the directory of this machine, and behind it the one that machines share.

What goes wrong with the cache is a warning, once in a build, which goes on without it.
"""

from __future__ import annotations

import enum
import errno
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from aotbuild.cache import local
from aotbuild.cache.entry import DamagedError, UnreadableError, read_entry, write_entry
from aotbuild.cache.notes import Notes
from aotbuild.cache.settings import DIRECTORY, LIMIT, OFF, Settings, cache_settings
from aotbuild.errors import warn

_UNREACHABLE, _UNWRITABLE = "remote-unreachable", "remote-unwritable"
_NO_WRITE, _NO_READ = "directory-unwritable", "directory-unreadable"

_ON = "the build goes on without it"


class Found(enum.Enum):
    """What came of asking for an entry."""

    HIT = "hit"
    MISSING = "missing"
    DAMAGED = "damaged"


class Store:
    """Entries by kind and key.

    Args:
        settings: How the cache is used.
        notes: What was already said.
    """

    def __init__(self, settings: Settings, notes: Notes) -> None:
        self.settings = settings
        self._notes = notes

    @classmethod
    def of_build(cls, build: Path | None = None) -> Store:
        """The store of a step, which runs in the directory of the build if none is given.

        Raises:
            ConfigError: The environment has settings that mean nothing.
        """
        return cls(cache_settings(), Notes(build or Path.cwd()))

    def begin(self) -> None:
        """Begin a build, in which everything is said anew."""
        self._notes.clear()

    @property
    def on(self) -> bool:
        """Whether entries are looked for."""
        return self.settings.mode != OFF

    @property
    def directory(self) -> Path | None:
        """The directory of this machine, if there is one."""
        return self.settings.directory

    def get(self, kind: str, key: str, directory: Path) -> Found:
        """Put the files of an entry into a directory.

        Args:
            kind: What the entry is of.
            key: Its key.
            directory: Where the files go.

        Raises:
            OSError: They cannot be written there.
        """
        if not self.on:
            return Found.MISSING
        result = self._get_local(kind, key, directory)
        if result is not Found.HIT and self.settings.remote:
            shared = self._get_remote(kind, key, directory)
            result = shared if shared is not Found.MISSING else result
        return result

    def put(self, kind: str, key: str, files: Mapping[str, Path]) -> None:
        """Keep files as an entry, as far as that is possible and allowed.

        Args:
            kind: What the entry is of.
            key: Its key.
            files: The files, by the names that they get back.
        """
        if not self.settings.writes:
            return
        size = sum(file.stat().st_size for file in files.values())
        entry = None
        if not self.settings.limit or size <= self.settings.limit:
            entry = self._put_local(kind, key, lambda own: write_entry(own, key, files))
        if not self.settings.remote or self._notes.has(_UNREACHABLE):
            return
        if entry is not None:
            self._send(entry, kind, key)
            return
        with tempfile.TemporaryDirectory(prefix="aotbuild-") as own:
            entry = Path(own) / key
            try:
                write_entry(entry, key, files)
            except OSError:  # about which a warning has been printed, or the build ends
                return
            self._send(entry, kind, key)

    def complain(self, error: OSError) -> None:
        """Tell that the directory cannot be written."""
        if not self._notes.first(_NO_WRITE):
            return
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        warn(
            f"the cache {self.directory} cannot be written",
            where=f"environment: {DIRECTORY}",
            why=error.strerror or str(error),
            fix=f"{_ON}; free some space, or set {LIMIT}"
            if full
            else f"{_ON}; set AOTBUILD_CACHE=read, or {DIRECTORY} to another directory",
        )

    def _path(self, kind: str, key: str) -> Path | None:
        directory = self.settings.directory
        return directory / _name(kind, key) if directory is not None else None

    def _get_local(self, kind: str, key: str, directory: Path) -> Found:
        path = self._path(kind, key)
        if path is None:
            return Found.MISSING
        try:
            read_entry(path, key, directory)
        except FileNotFoundError:
            return Found.MISSING
        except UnreadableError as error:
            if self._notes.first(_NO_READ):
                warn(
                    f"the cache {self.directory} cannot be read",
                    where=f"environment: {DIRECTORY}",
                    why=str(error),
                    fix=_ON,
                )
            return Found.MISSING
        except DamagedError as error:
            self._damaged(str(path), error)
            if self.settings.writes:
                path.unlink(missing_ok=True)
            return Found.DAMAGED
        local.touch(path)
        return Found.HIT

    def _put_local(self, kind: str, key: str, write: Callable[[Path], object]) -> Path | None:
        """Let an entry be written under a name of its own, and put it in its place."""
        path = self._path(kind, key)
        assert path is not None  # noqa: S101  # it writes
        assert self.settings.directory is not None  # noqa: S101
        try:
            local.create(self.settings.directory)
            local.create(path.parent)
            with local.temporary(path) as own:
                write(own)
                own.replace(path)
        except OSError as error:
            self.complain(error)
            return None
        local.prune(self.settings.directory, self.settings.limit)
        return path if path.exists() else None

    def _get_remote(self, kind: str, key: str, directory: Path) -> Found:
        from aotbuild.cache.remote import Remote, RemoteError  # a tenth of a second

        if self._notes.has(_UNREACHABLE):
            return Found.MISSING
        remote = Remote(self.settings.remote, self.settings.timeout)
        with tempfile.TemporaryDirectory(prefix="aotbuild-", ignore_cleanup_errors=True) as own:
            entry = Path(own) / key
            try:
                if not remote.fetch(_name(kind, key), entry):
                    return Found.MISSING
                read_entry(entry, key, directory)
            except RemoteError as error:
                self._unreachable(error)
                return Found.MISSING
            except (DamagedError, UnreadableError) as error:
                self._damaged(f"{self.settings.remote}/{_name(kind, key)}", error)
                return Found.DAMAGED
            if self.settings.writes:
                self._put_local(kind, key, lambda own: shutil.copyfile(entry, own))
        return Found.HIT

    def _send(self, entry: Path, kind: str, key: str) -> None:
        from aotbuild.cache.remote import Remote, RemoteError

        if self._notes.has(_UNWRITABLE):
            return
        remote = Remote(self.settings.remote, self.settings.timeout)
        try:
            remote.send(entry, _name(kind, key))
        except RemoteError as error:
            if self._notes.first(_UNWRITABLE):
                warn(
                    f"the shared cache {self.settings.remote} cannot be written",
                    where=f"environment: {DIRECTORY}",
                    why=str(error),
                    fix="other machines will not have what is built here; "
                    "set AOTBUILD_CACHE=read if they shall not",
                )

    def _unreachable(self, error: Exception) -> None:
        if self._notes.first(_UNREACHABLE):
            warn(
                f"the shared cache {self.settings.remote} cannot be reached",
                where=f"environment: {DIRECTORY}",
                why=str(error),
                fix=_ON,
            )

    @staticmethod
    def _damaged(place: str, error: Exception) -> None:
        warn(
            "an entry of the cache is damaged",
            where=place,
            why=str(error),
            fix="it is not used, and will be written anew",
        )


def _name(kind: str, key: str) -> str:
    return f"{kind}/{key[:2]}/{key}"
