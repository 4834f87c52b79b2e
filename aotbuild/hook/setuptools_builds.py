"""Builds by setuptools, which know nothing of models: entry point for its extensions.

setuptools calls ``setuptools.finalize_distribution_options`` of every package in the environment of
the build. It is the backend of a project that names none, and its wheel would have no models.
"""

from __future__ import annotations

from pathlib import Path

from aotbuild.errors import reported


def refuse(distribution: object) -> None:
    """Stop a build of a project that declares models."""
    del distribution
    pyproject = Path("pyproject.toml")
    if not pyproject.is_file() or b"aotbuild" not in pyproject.read_bytes():
        return
    with reported():
        from aotbuild.config.project import read_pyproject
        from aotbuild.hook.build_system import check_backend

        declaration = read_pyproject(Path.cwd())
        if "aotbuild" in declaration.get("tool", {}):
            check_backend(declaration, Path.cwd())
