"""A project of one model, made of its source, that the command ``check`` reads."""

from __future__ import annotations

import sys
from pathlib import Path

from torch_pin import pinned

from aotbuild.commands.check import check_project

_PROJECT = """
[build-system]
requires = ["scikit-build-core>=1.1", "aotbuild", "torch==2.13.0"]
build-backend = "scikit_build_core.build"

[project]
name = "{name}"
version = "0.1"
requires-python = ">=3.11"
dynamic = ["dependencies"]

[[tool.dynamic-metadata]]
provider = "aotbuild"
"""


def check_model(directory: Path, name: str, table: str, module: str) -> int:
    """Check a project.

    Args:
        directory: An empty one.
        name: Of the project and its package.
        table: Declares the model, in TOML.
        module: The code of the package.

    Returns:
        The exit code of ``check``.
    """
    sys.modules.pop(name, None)  # of another test
    (directory / "pyproject.toml").write_text(pinned(_PROJECT.format(name=name)) + table)
    (directory / name).mkdir()
    (directory / name / "__init__.py").write_text(module)
    return check_project(directory, [])
