"""Where the C interface of a package is: its headers, and its package for CMake."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

DIRECTORY = "_c"
"""Its directory in the package."""
INCLUDE = "include"
CMAKE = "cmake"

PARTS = {"cmake": CMAKE, "include": INCLUDE, "library": "."}
"""What can be asked for, with its place in that directory."""


def show(package: Path, name: str, part: str) -> NoReturn:
    """Print where a part of the interface is, and end; with an error if there is none.

    Args:
        package: Directory of the package.
        name: Its import name.
        part: One of ``PARTS``.
    """
    directory = package / DIRECTORY / PARTS[part]
    if not directory.is_dir():
        sys.exit(
            f"python -m {name}: {name} has no C interface, as its models are run by torch. Build "
            'it with runtime = "standalone" in [tool.aotbuild]'
        )
    sys.stdout.write(f"{directory}\n")
    sys.exit()
