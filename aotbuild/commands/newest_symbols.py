"""What keeps a wheel from older systems: the newest versions of system libraries that it needs."""

from __future__ import annotations

import io
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection

_OLDEST = {"GLIBC": (2, 17), "GLIBCXX": (3, 4, 19), "CXXABI": (1, 3, 7)}
"""Versions of manylinux2014, the oldest tag that builds are for, of glibc and of C++'s library."""
_MOST = 5


def newest_symbols(wheel: Path) -> list[str]:
    """A line for each library of the system of which the wheel needs more than manylinux2014 has.

    Such as ``GLIBC_2.35: hypot, hypotf (digits/models/net/cpu-x86-64-v3.so)``.
    """
    needed = defaultdict[str, dict[tuple[int, ...], list[tuple[str, str]]]](
        lambda: defaultdict(list)
    )
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            for symbol, version in versioned_symbols(archive.read(name)):
                family, _, number = version.partition("_")
                if family in _OLDEST and number.replace(".", "").isdecimal():
                    numbers = tuple(map(int, number.split(".")))
                    needed[family][numbers].append((symbol, name))
    lines = []
    for family, versions in sorted(needed.items()):
        newest = max(versions)
        if newest > _OLDEST[family]:
            symbols = _listed({symbol for symbol, _ in versions[newest]})
            files = _listed({name for _, name in versions[newest]})
            lines.append(f"{family}_{'.'.join(map(str, newest))}: {symbols} ({files})")
    return lines


def versioned_symbols(data: bytes) -> Iterator[tuple[str, str]]:
    """The symbols that a shared library needs of others, with their versions; of no other file."""
    try:
        file = ELFFile(io.BytesIO(data))
    except ELFError:
        return
    table = file.get_section_by_name(".dynsym")
    indices = file.get_section_by_name(".gnu.version")
    needs = file.get_section_by_name(".gnu.version_r")
    if not (
        isinstance(table, SymbolTableSection)
        and isinstance(indices, GNUVerSymSection)
        and isinstance(needs, GNUVerNeedSection)
    ):
        return
    names = {
        version["vna_other"]: version.name
        for _, versions in needs.iter_versions()
        for version in versions
    }
    for i, symbol in enumerate(table.iter_symbols()):
        name = names.get(indices.get_symbol(i)["ndx"])
        if name:
            yield symbol.name, name


def _listed(names: set[str]) -> str:
    """Names, but not too many of them."""
    ordered = sorted(names)
    rest = len(ordered) - _MOST
    return ", ".join([*ordered[:_MOST], *([f"{rest} more"] if rest > 0 else [])])
