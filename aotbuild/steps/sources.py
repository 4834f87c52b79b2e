"""The directory of aotbuild's own sources: what is digested, compiled, and copied into packages."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path


@contextlib.contextmanager
def source_directory(package: str) -> Iterator[Path]:
    """The directory of a package, a temporary copy where it is in no directory, as in a zip file.

    An editable install has a loader of its own, whose resources cannot be copied as a directory;
    but the modules are files.
    """
    spec = importlib.util.find_spec(package)
    init = Path(spec.origin) if spec is not None and spec.origin else None
    if init is not None and init.is_file():
        yield init.parent
        return
    with as_file(files(package)) as directory:
        yield directory
