"""The C++ compiler that the build uses."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import PurePath

from aotbuild.errors import ToolchainError

_LAUNCHERS = {"ccache", "sccache", "distcc"}


def find_cxx() -> list[str]:
    """The command of the C++ compiler: ``CXX``, else ``g++`` (``clang++`` on macOS).

    Raises:
        ToolchainError: It is not there.
    """
    command = shlex.split(os.environ.get("CXX", "")) or [
        "clang++" if sys.platform == "darwin" else "g++"
    ]
    for program in dict.fromkeys([command[0], _compiler(command)]):
        if shutil.which(program) is None:
            named = bool(os.environ.get("CXX"))
            raise ToolchainError(
                f'there is no C++ compiler "{program}"',
                where=f"environment: {'CXX' if named else 'PATH'}",
                why="compiling the models needs one "
                f"({'CXX names it' if named else 'it is the default; CXX is not set'})",
                fix="install g++ (Debian: apt-get install g++; Fedora: dnf install gcc-c++), "
                "or set CXX to another compiler",
            )
    return [shutil.which(command[0]) or command[0], *command[1:]]


def find_disassembler() -> str | None:
    """The program that disassembles, of the binutils that g++ needs; None without them."""
    return shutil.which("objdump")


def compiler_name(command: Sequence[str]) -> str:
    """The compiler's own name in a command such as ``ccache g++ -pipe``."""
    return PurePath(_compiler(command)).name


def _compiler(command: Sequence[str]) -> str:
    return next(word for word in [*command, "c++"] if PurePath(word).name not in _LAUNCHERS)
