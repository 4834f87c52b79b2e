"""The C++ compiler that the build uses."""

from __future__ import annotations

import os
import shlex
import shutil
import sys

from aotbuild.errors import ToolchainError


def find_cxx() -> list[str]:
    """The command of the C++ compiler: ``CXX``, else ``g++`` (``clang++`` on macOS).

    Raises:
        ToolchainError: It is not there.
    """
    command = shlex.split(os.environ.get("CXX", "")) or [
        "clang++" if sys.platform == "darwin" else "g++"
    ]
    found = shutil.which(command[0])
    if found is None:
        chosen = "CXX names it" if os.environ.get("CXX") else "it is the default; CXX is not set"
        raise ToolchainError(
            f'there is no C++ compiler "{command[0]}"',
            where="environment: CXX" if os.environ.get("CXX") else "environment: PATH",
            why=f"compiling the models needs one ({chosen})",
            fix="install g++ (Debian: apt-get install g++; Fedora: dnf install gcc-c++), "
            "or set CXX to another compiler",
        )
    return [found, *command[1:]]
