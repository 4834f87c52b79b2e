"""The program that builds a wheel as PEP 517 tells: build, or pip where that is not installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from aotbuild.errors import BuildError


def command_line(
    project: Path, output: Path, *, isolation: bool, settings: Sequence[str]
) -> list[str]:
    """The command that builds a wheel.

    Args:
        project: Directory of the project.
        output: Where the wheel goes.
        isolation: Whether it is built in an environment of its own.
        settings: What the build backend gets, each as ``KEY=VALUE``.

    Raises:
        BuildError: There is no such program.
    """
    config = [f"-C{setting}" for setting in settings]
    # -P: a package of the current directory may have the name of one that builds.
    python = [sys.executable, "-P", "-m"]
    if find_spec("build.__main__" if find_spec("build") else "build"):
        # As pip does: what a build needs of this environment, the hook of aotbuild checks.
        alone = [] if isolation else ["--no-isolation", "--skip-dependency-check"]
        return [*python, "build", "--wheel", "--outdir", str(output), *alone, *config, str(project)]
    if find_spec("pip"):
        alone = [] if isolation else ["--no-build-isolation"]
        options = ["-v", "--no-deps", "--disable-pip-version-check", "-w", str(output)]
        return [*python, "pip", "wheel", *options, *alone, *config, str(project)]
    raise BuildError(
        "there is nothing here that builds wheels",
        where="environment",
        why=f"neither build nor pip is installed for {sys.executable}",
        fix="install the package build",
    )
