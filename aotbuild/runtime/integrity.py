"""Checks that the files of a package are those that the build wrote.

Digests find damage: a broken download or disk, a truncated file, files of two versions mixed. They
do not protect against anyone with write access to the package, as nothing in it is signed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .digest import blake2b
from .errors import ModelLoadError
from .manifest import File, Manifest

VARIABLE = "AOTBUILD_VERIFY"
_WHOLE = 4 << 20
"""Up to this many bytes, the quick digest, and the checksum of the C interface, are of all."""
_BLOCK = 64 << 10
_BLOCKS = 64


def identify(path: Path, name: str) -> File:
    """Size and digests of a file.

    Args:
        path: The file.
        name: Where it is in the package.
    """
    return File(name, path.stat().st_size, _quick(path), _full(path))


def check_file(package: Path, expected: File) -> None:
    """Make sure that a file of a package is as the build wrote it.

    A large file's quick digest is that of blocks all over it; ``AOTBUILD_VERIFY=full`` reads it
    whole.

    Raises:
        ModelLoadError: It is missing, or differs.
    """
    path = package / expected.file
    mode = os.environ.get(VARIABLE) or "quick"
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise _damaged(path, f"has {size} bytes instead of {expected.size}")
        if _quick(path) != expected.quick:
            raise _damaged(path, "is not the file that was built")
        if mode == "full" and _full(path) != expected.sha256:
            raise _damaged(path, "is not the file that was built")
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error


def check_files(package: Path, manifest: Manifest) -> None:
    """Check the files that a model needs besides its library and weights, each once in a process.

    Most of them are shared by all models of the package.

    Raises:
        ModelLoadError: One is missing, or differs.
    """
    for file in manifest.files:
        _check_once(package, file)


@functools.cache
def _check_once(package: Path, file: File) -> None:
    check_file(package, file)


def _full(path: Path) -> str:
    import hashlib  # which takes time, and memory

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _quick(path: Path) -> str:
    digest = blake2b(digest_size=32)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(size.to_bytes(8, "little"))
        for part in parts(file, size):
            digest.update(part)
    return digest.hexdigest()


def parts(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The bytes by which a file is known: all of it, or of a large one blocks all over it.

    Args:
        file: The file.
        size: How many bytes it has.
    """
    if size <= _WHOLE:
        yield file.read()
        return
    for i in range(_BLOCKS):
        file.seek((size - _BLOCK) * i // (_BLOCKS - 1))
        yield file.read(_BLOCK)


def _damaged(path: Path, why: str) -> ModelLoadError:
    return ModelLoadError(f"{path} {why}; install the package again")
