"""What a compiled library needs of torch and of the system."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerSymSection
from elftools.elf.sections import SymbolTableSection

from aotbuild.errors import CompileError
from aotbuild.runtime.machine import torch_library

_PREFIXES = ("aoti_torch_", "Sleef_")
"""Of torch's functions for compiled libraries."""

_STANDARD = re.compile(r"_Z(?:T[VTIS]|GV)?N?K?[RO]?(?:S[tabsiod]|9__gnu_cxx)")
"""How the mangled names of C++'s own library begin."""

_SYSTEM = ("libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libc.so.6", "libgomp.so.1")
"""What else is in a process beside torch's libraries."""

_OPENMP = re.compile(r"lib(?:i|nv)?omp\d*\b")
"""Libraries of OpenMP that are not GCC's."""


def torch_symbols(library: Path, where: str) -> list[str]:
    """The undefined symbols of a shared library that torch has to provide, by name.

    These have no version. Those of the system's libraries have one, which the loader checks, unless
    the library was linked against a torch that has a copy of them: then either will do.
    Symbols that a library of custom operators provides are left out, as are weak ones, which may
    be missing. Only ELF is read; of another format there are none.

    Args:
        library: The shared library.
        where: Where its model is declared.

    Raises:
        CompileError: It takes parts of C++'s own library from torch's libraries, which other
            builds of torch do not have.
    """
    names = _undefined(library)
    others = [name for name in names if not name.startswith(_PREFIXES)]
    if not others:
        return names
    system = [opened for name in _SYSTEM if (opened := _open(name)) is not None]
    common = {name for name in others if any(hasattr(each, name) for each in system)}
    foreign = [name for name in others if _STANDARD.match(name) and name not in common]
    if foreign:
        raise CompileError(
            "the library needs a symbol of C++'s own library that only torch has",
            where=where,
            why=", ".join(foreign[:3]),
            fix="set CXX to a newer g++, whose libstdc++.so.6 has it",
        )
    torch = _open(torch_library())
    needed = [name for name in names if name not in common]
    return [name for name in needed if name not in others or hasattr(torch, name)]


def check_needed(library: Path, where: str) -> None:
    """Check the libraries that a shared library needs.

    Args:
        library: The shared library; only ELF is read.
        where: Where its model is declared.

    Raises:
        CompileError: It needs another OpenMP than torch's.
    """
    with _elf(library) as file:
        section = file.get_section_by_name(".dynamic") if file else None
        if not isinstance(section, DynamicSection):
            return
        tags: Any = section.iter_tags("DT_NEEDED")
        needed = [tag.needed for tag in tags]
    foreign = [name for name in needed if _OPENMP.match(name)]
    if foreign:
        raise CompileError(
            f"the library needs {foreign[0]}, a second OpenMP library",
            where=where,
            why="torch has libgomp: a process that had both would start two sets of threads",
            fix="set CXX to g++, without options that link another OpenMP (-lomp, -liomp5)",
        )


def _undefined(library: Path) -> list[str]:
    """The undefined symbols that have no version and are not weak."""
    with _elf(library) as file:
        table = file.get_section_by_name(".dynsym") if file else None
        versions = file.get_section_by_name(".gnu.version") if file else None
        if not isinstance(table, SymbolTableSection):
            return []
        names = set()
        for i, symbol in enumerate(table.iter_symbols()):
            if symbol["st_shndx"] != "SHN_UNDEF" or symbol["st_info"]["bind"] != "STB_GLOBAL":
                continue
            if isinstance(versions, GNUVerSymSection):
                version = versions.get_symbol(i)["ndx"]
                if version not in {"VER_NDX_LOCAL", "VER_NDX_GLOBAL", 0, 1}:
                    continue
            names.add(symbol.name)
        return sorted(names)


@contextmanager
def _elf(library: Path) -> Iterator[ELFFile | None]:
    """The file as ELF; None of another format."""
    with library.open("rb") as file:
        try:
            opened = ELFFile(file)
        except ELFError:
            opened = None
        yield opened


def _open(library: str) -> ctypes.CDLL | None:
    """A library of this process, in which names are looked up, and in all that it needs."""
    try:
        return ctypes.CDLL(library, mode=os.RTLD_LAZY)
    except OSError:
        return None
