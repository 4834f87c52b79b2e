"""Libraries of custom operators that a model calls: loaded before it, once in a process."""

from __future__ import annotations

import importlib
from pathlib import Path

from .errors import ModelLoadError
from .lazy import torch
from .manifest import Manifest

SUFFIXES = (".so", ".dylib", ".dll")
"""Names that end so are files of the package; others are modules."""


def load_op_libraries(package: Path, manifest: Manifest) -> None:
    """Load the operators of a model.

    Raises:
        ModelLoadError: A library is missing or cannot be loaded.
    """
    for library in manifest.op_libraries:
        try:
            if library.endswith(SUFFIXES):
                torch.ops.load_library(str(package / library))  # type: ignore[no-untyped-call]
            else:
                importlib.import_module(library)
        except (ImportError, OSError) as error:
            raise ModelLoadError(
                f"{manifest.name} calls custom operators of {library!r}, which cannot be loaded "
                f"({error}); "
                + (
                    "install the package again"
                    if library.endswith(SUFFIXES)
                    else f"install the package that holds {library.split('.')[0]!r}"
                )
            ) from error
