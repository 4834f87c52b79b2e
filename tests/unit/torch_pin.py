"""The torch that the tests run with, and projects pinned to it.

Each ``pyproject.toml`` of this repository pins the oldest torch that is supported. ``make test
TORCH=2.15.0`` runs the tests on another one, to which copies of these projects are pinned.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path

from packaging.version import Version

TORCH = Version(importlib.metadata.version("torch"))
"""The version that is installed here, perhaps with a local part such as ``+cpu``."""

WRITTEN = "torch==2.13.0"
"""The pin that stands in the files of this repository."""

PIN = f"torch=={TORCH.public}"

REQUIRED = f"torch<{TORCH.major}.{TORCH.minor + 1},>={TORCH.major}.{TORCH.minor}"
"""What a wheel requires that is built with it, and does not say otherwise."""


def pinned(text: str) -> str:
    """The text of a pyproject.toml, pinned to the torch of the tests."""
    return text.replace(WRITTEN, PIN)


def pin(project: Path) -> Path:
    """Pin a project that was copied."""
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pinned(pyproject.read_text()))
    return project


def copied(project: Path, directory: Path) -> Path:
    """A copy of a project in a directory that is not there yet, without what builds left in it."""
    ignored = shutil.ignore_patterns("__pycache__", "build", "dist")
    return pin(Path(shutil.copytree(project, directory, ignore=ignored)))
