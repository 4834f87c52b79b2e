"""An entry of the cache: some files in one, after a digest of all that follows it.

The first line has the digest, the second one, which is JSON, the key and the name and size of each
file; their bytes follow. A reader takes nothing of an entry whose digest is another, or whose key
is not the one that was asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

_MAGIC = b"aotbuild-cache-1 "
_FIRST = len(_MAGIC) + 64 + 1
"""Bytes of the first line."""
_CHUNK = 1 << 20
_LONGEST = 1 << 20
"""Bytes that the second line may have."""


class DamagedError(Exception):
    """An entry is not what was written under its key."""


class UnreadableError(Exception):
    """An entry is there, and cannot be read."""


def write_entry(path: Path, key: str, files: Mapping[str, Path]) -> None:
    """Write an entry.

    Args:
        path: The entry's file.
        key: Its key.
        files: Its files, by the names that they get back.

    Raises:
        OSError: It cannot be written.
    """
    sizes = [[name, file.stat().st_size] for name, file in files.items()]
    head = json.dumps({"key": key, "files": sizes}).encode() + b"\n"
    digest = hashlib.sha256(head)
    with path.open("wb") as entry:
        entry.write(_first_line("0" * 64))
        entry.write(head)
        for file in files.values():
            with file.open("rb") as source:
                while data := source.read(_CHUNK):
                    digest.update(data)
                    entry.write(data)
        entry.seek(0)
        entry.write(_first_line(digest.hexdigest()))


def read_entry(path: Path, key: str, directory: Path) -> list[str]:
    """Put the files of an entry into a directory: all of them or none.

    Args:
        path: The entry's file.
        key: The key that it is read for.
        directory: Where its files go.

    Returns:
        Their names.

    Raises:
        FileNotFoundError: There is no such entry.
        UnreadableError: It cannot be read.
        DamagedError: It is not what was written under this key.
        OSError: A file cannot be written.
    """
    try:
        entry = path.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    parts: dict[str, Path] = {}
    with entry:
        try:
            wanted, head, line = _head(entry)
            if head.get("key") != key:
                raise DamagedError("it is of another key")
            digest = hashlib.sha256(line)
            for name, size in _listed(head):
                parts[name] = directory / f".{name}.cached"
                with parts[name].open("wb") as file:
                    for data in _chunks(entry, size):
                        digest.update(data)
                        file.write(data)
            if _read(entry, 1) or digest.hexdigest() != wanted:
                raise DamagedError("its content is not that of its digest")
            for name, part in parts.items():
                part.replace(directory / name)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)
    return list(parts)


def _first_line(digest: str) -> bytes:
    return _MAGIC + digest.encode() + b"\n"


def _head(entry: BinaryIO) -> tuple[str, dict[str, Any], bytes]:
    """The digest, and the second line, read and as it is."""
    first = _read(entry, _FIRST)
    if not first.startswith(_MAGIC) or len(first) != _FIRST:
        raise DamagedError("it does not begin as an entry does")
    try:
        line = entry.readline(_LONGEST)
        head = json.loads(line)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    except ValueError:
        raise DamagedError("its list of files cannot be read") from None
    if not isinstance(head, dict):
        raise DamagedError("its list of files cannot be read")
    return first[len(_MAGIC) : -1].decode(errors="replace"), head, line


def _listed(head: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for item in head.get("files", ()):
        match item:
            # A name with a directory in it could be anywhere.
            case [str(name), int(size)] if Path(name).name == name and size >= 0:
                yield name, size
            case _:
                raise DamagedError("its list of files cannot be read")


def _chunks(entry: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        data = _read(entry, min(size, _CHUNK))
        if not data:
            raise DamagedError("its end is missing")
        size -= len(data)
        yield data


def _read(entry: BinaryIO, size: int) -> bytes:
    try:
        return entry.read(size)
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
