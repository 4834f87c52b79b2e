"""The C++ compiler that the build uses."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import PurePath

from aotbuild.errors import ToolchainError

_LAUNCHERS = {"ccache", "sccache", "distcc"}

_LAUNCHER = "CMAKE_CXX_COMPILER_LAUNCHER"

NO_FAST_MATH = ("-O2", "-fno-fast-math", "-fno-unsafe-math-optimizations")
"""What takes back options that must not be there when a library is linked.

With ``-Ofast``, ``-ffast-math`` or ``-funsafe-math-optimizations`` g++ before 13, and clang++, link
start-up code that flushes denormals to zero in the whole process that loads the library.
"""

PLAIN_STACK = ("-Wl,-z,noexecstack",) if sys.platform == "linux" else ()
"""What keeps the stack of a process free of code when it loads a library.

The constants of a model come as assembler, in which Inductor (torch 2.13) does not say that it
needs no such stack. glibc makes the stack executable then, and from 2.41 on refuses the library.
"""


def find_cxx(architecture: str = "") -> list[str]:
    """The command of the C++ compiler: ``CXX``, else ``g++`` (``clang++`` on macOS).

    A launcher such as ccache stands before it where the user has set one, there or for CMake.

    Args:
        architecture: That to compile for, where it is not this machine's: the default is
            ``aarch64-linux-gnu-g++`` for ``aarch64`` then.

    Raises:
        ToolchainError: It is not there, or cannot compile for torch or for the architecture.
    """
    command = _declared(architecture)
    launcher = [word for word in os.environ.get(_LAUNCHER, "").split(";") if word]
    if launcher and without_launcher(command) == command:
        if shutil.which(launcher[0]) is None:
            raise ToolchainError(
                f'there is no compiler launcher "{launcher[0]}"',
                where=f"environment: {_LAUNCHER}",
                fix="install it, or unset the variable",
            )
        launched = [shutil.which(launcher[0]) or launcher[0], *launcher[1:]]
        return [*launched, *_checked(command, architecture)]
    return _checked(command, architecture)


def check_cxx() -> None:
    """Check the C++ compiler if there is one: a build would refuse the same.

    Raises:
        ToolchainError: It cannot compile for torch.
    """
    command = _declared()
    if shutil.which(_compiler(command)) is not None:
        _refuse_clang(command)


def _declared(architecture: str = "") -> list[str]:
    """The command of the compiler, as the environment names it."""
    return shlex.split(os.environ.get("CXX", "")) or [usual_cxx(architecture)]


def usual_cxx(architecture: str = "") -> str:
    """The program that compiles where the environment names none.

    Args:
        architecture: That to compile for, if that is not this machine's.
    """
    if architecture:
        return f"{architecture}-linux-gnu-g++"
    return "clang++" if sys.platform == "darwin" else "g++"


def _checked(command: list[str], architecture: str) -> list[str]:
    for program in dict.fromkeys([command[0], _compiler(command)]):
        if shutil.which(program) is None:
            named = bool(os.environ.get("CXX"))
            if architecture:
                raise _no_cross_compiler(program, architecture, named=named)
            raise ToolchainError(
                f'there is no C++ compiler "{program}"',
                where=f"environment: {'CXX' if named else 'PATH'}",
                why="compiling the models needs one "
                f"({'CXX names it' if named else 'it is the default; CXX is not set'})",
                fix="install g++ (Debian: apt-get install g++; Fedora: dnf install gcc-c++), "
                "or set CXX to another compiler",
            )
    _refuse_clang(command)
    if architecture:
        _check_machine(command, architecture)
    return _found(command)


def _no_cross_compiler(program: str, architecture: str, *, named: bool) -> ToolchainError:
    package = f"g++-{architecture.replace('_', '-')}-linux-gnu"
    return ToolchainError(
        f'there is no C++ compiler "{program}"',
        where=f"environment: {'CXX' if named else 'PATH'}",
        why=f"compiling for {architecture} on this machine needs one "
        f"({'CXX names it' if named else 'it is the default; CXX is not set'})",
        fix=f"install it (Debian: apt-get install {package}; Fedora, which has no C library for "
        f"it: dnf install gcc-c++-{architecture}-linux-gnu, with a sysroot of your own), or set "
        f"CXX to another g++ for {architecture}",
    )


def _check_machine(command: Sequence[str], architecture: str) -> None:
    """Refuse a compiler for another architecture, such as that of this machine."""
    question = [*without_launcher(command), "-dumpmachine"]
    done = subprocess.run(question, capture_output=True, text=True, check=False)
    machine = done.stdout.strip()
    if machine.partition("-")[0] != architecture:
        raise ToolchainError(
            f'"{shlex.join(command)}" does not compile for {architecture}',
            where="environment: CXX",
            why=f"it compiles for {machine or 'nothing that it tells'}",
            fix=f"unset CXX, whose default is {usual_cxx(architecture)} then, or set it to "
            f"a g++ for {architecture}",
        )


def _refuse_clang(command: list[str]) -> None:
    if sys.platform != "darwin" and is_clang(tuple(_found(without_launcher(command)))):
        version = compiler_title(command)
        raise ToolchainError(
            f'"{shlex.join(command)}" is Clang, which cannot compile models here',
            where=f"environment: {'CXX' if os.environ.get('CXX') else 'PATH'}",
            why=f"code that {version} compiles runs on OpenMP's libomp, and torch on libgomp: a "
            "process that had both would start two sets of threads",
            fix="set CXX=g++, or unset it where g++ is the default",
        )


def _found(command: Sequence[str]) -> list[str]:
    """A command with the path of its program."""
    program = next(iter(command), "c++")
    return [shutil.which(program) or program, *command[1:]]


def find_disassembler() -> str | None:
    """The program that disassembles, of the binutils that g++ needs; None without them."""
    return shutil.which("objdump")


def compiler_name(command: Sequence[str]) -> str:
    """The compiler's own name in a command such as ``ccache g++ -pipe``."""
    return PurePath(_compiler(command)).name


def without_launcher(command: Sequence[str]) -> list[str]:
    """A compiler's command without what only remembers its results, which changes nothing."""
    given = os.environ.get(_LAUNCHER, "").split(";")
    known = {*_LAUNCHERS, *(PurePath(word).name for word in given)}
    words = iter(enumerate(command))
    first = next((i for i, word in words if PurePath(word).name not in known), len(command))
    return list(command[first:])


def compiler_version(command: Sequence[str]) -> str:
    """What a compiler prints for ``--version``."""
    question = [*without_launcher(command), "--version"]
    return subprocess.run(question, capture_output=True, text=True, check=False).stdout


def compiler_title(command: Sequence[str]) -> str:
    """A compiler as it tells its name and version, such as ``g++ (Debian 12.2.0-14) 12.2.0``."""
    return next(iter(compiler_version(command).splitlines()), compiler_name(command))


@functools.cache
def is_clang(command: tuple[str, ...]) -> bool:
    """Whether a compiler is Clang or is made of it, whatever its name: it tells by a macro.

    Args:
        command: Its command, without a launcher.
    """
    try:
        done = subprocess.run(
            [*command, "-E", "-P", "-x", "c++", "-"],
            input="__clang__\n",
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.split()[-1:] == ["1"]


def _compiler(command: Sequence[str]) -> str:
    return next(iter(without_launcher(command)), "c++")
