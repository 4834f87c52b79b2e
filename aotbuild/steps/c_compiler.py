"""Compiling C: the shared libraries of packages, and what runs libraries in an emulator."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from aotbuild.cache.store import Store
from aotbuild.errors import CompileError
from aotbuild.steps.files import replacing, scratch
from aotbuild.steps.older_glibc import older_libraries
from aotbuild.toolchain import NO_FAST_MATH, find_cxx

_FLAGS = ["-std=c11", "-O2", "-fPIC", "-fvisibility=hidden"]


def compile_c(
    library: Path,
    files: Mapping[str, bytes],
    options: Sequence[str],
    store: Store,
    what: str,
    where: str,
    architecture: str = "",
) -> None:
    """Compile C files into a shared library, or into a program that stays here.

    Args:
        library: The library, or the program.
        files: Sources and headers, by the paths that the compiler is to know them by.
        options: Further options of the compiler, among them those for linking.
        store: The cache.
        what: What it is, for messages.
        where: Where its sources are, for messages.
        architecture: What it is compiled for, if that is not this machine's.

    Raises:
        CompileError: The compiler refuses it.
    """
    with (
        replacing(library) as temporary,
        scratch(library.parent) as directory,
    ):
        # By names of their own: the compiler notes them.
        for name, content in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(content)
        cxx = find_cxx(architecture)
        command = [*cxx]
        for name in sorted(name for name in files if name.endswith(".c")):
            command += ["-x", "c", name]  # of which g++ would make C++, one by one
        command += ["-x", "none", *NO_FAST_MATH, *_FLAGS]
        # A program begins by code of the build's own C library, which older ones do not know.
        if sys.platform == "linux" and "-shared" in options:
            stubs = older_libraries(cxx, directory / "glibc", store)
            # Before the libraries that the options name.
            command += ["-Wl,-z,noseparate-code", "-Wl,--as-needed", *map(str, stubs)]
        command += options
        done = subprocess.run(
            [*command, "-o", str(temporary.absolute())],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CompileError(
                f"{what} could not be compiled",
                where=where,
                why=done.stderr.strip(),
                fix="set CXX to another compiler; g++ 9 or newer is known to work",
            )
