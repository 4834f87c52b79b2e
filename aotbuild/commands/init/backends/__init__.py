"""What moves from each build backend to scikit-build-core.

- ``move``: what moving gives, and what all backends share
- ``versions``: versions that are read from a file or from git
- ``constraints``: poetry's constraints of versions as those of pip
- ``setuptools``, ``hatchling``, ``poetry``, ``flit``, ``uv``: one for each backend

Each changes the document, and refuses what scikit-build-core has nothing for. What is left out of
the wheel, or read from elsewhere, without a word, is worse than a refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aotbuild.commands.init.backends.flit import move_flit
from aotbuild.commands.init.backends.hatchling import move_hatchling
from aotbuild.commands.init.backends.move import Move
from aotbuild.commands.init.backends.poetry import move_poetry
from aotbuild.commands.init.backends.setuptools import move_setuptools
from aotbuild.commands.init.backends.uv import move_uv
from aotbuild.commands.init.document import Document
from aotbuild.errors import InitError

Mover = Callable[[Document, Path], Move]

MOVERS: dict[str, Mover] = {
    "setuptools": move_setuptools,
    "hatchling": move_hatchling,
    "poetry": move_poetry,
    "flit_core": move_flit,
    "uv_build": move_uv,
}
"""By the first part of the backend's module."""

_OWN = "scikit_build_core"


def moved(document: Document, root: Path) -> Move:
    """Change what the project's backend is told into what scikit-build-core is told.

    Args:
        document: The project's pyproject.toml.
        root: The directory of the project.

    Raises:
        InitError: The backend, or something that it does for the project, has no counterpart.
    """
    backend = str(document.get("build-system", "build-backend") or "setuptools.build_meta")
    top = backend.partition(":")[0].partition(".")[0]
    if top == _OWN and not document.get("build-system", "backend-path"):
        return Move()
    if top not in MOVERS or document.get("build-system", "backend-path"):
        raise InitError(
            f'init knows nothing of the build backend "{backend}"',
            where="pyproject.toml: build-system.build-backend",
            why=f"it knows what moves from {', '.join(sorted(MOVERS))} to scikit-build-core",
            fix='write build-backend = "scikit_build_core.build", and what that has to be told in '
            "[tool.scikit-build], and call init again",
        )
    return MOVERS[top](document, root)
