"""The directory of aotbuild's own sources: what is digested, compiled, and copied into packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def source_directory(package: str) -> Path:
    """The directory of a package of aotbuild.

    It is not asked for as a resource: the loader of an editable install has resources that are no
    directory. The modules are files there as well.
    """
    spec = importlib.util.find_spec(package)
    assert spec is not None  # noqa: S101  # it is a package of this distribution
    assert spec.origin is not None  # noqa: S101
    return Path(spec.origin).parent
