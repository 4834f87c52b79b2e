"""Linking for Linux systems that are older than the builder's.

A library is bound to the versions of the C library's functions that are the default where it is
linked: ``pthread_create`` of glibc 2.34 on Debian 12, which no older system has. A newer glibc has
the older versions, too. So a library is linked against stubs of glibc's libraries whose defaults
are those of ``OLDEST``; what has no such version is bound as ever, and the wheel's tag tells.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerSymSection
from elftools.elf.sections import SymbolTableSection

from aotbuild.cache.history import key_of
from aotbuild.cache.store import Found, Store
from aotbuild.steps.files import scratch
from aotbuild.steps.identity import aotbuild_identity
from aotbuild.toolchain import compiler_version, without_launcher

KIND = "glibc"
"""Of entries in the cache: the stubs of a glibc each."""

OLDEST = (2, 28)
"""The glibc that functions are taken from, where it has them: that of manylinux_2_28.

That of 2014 would do as well, but its ``expf`` takes half as long again as that of 2.27.
"""

_LIBRARIES = ("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1")
_MOVED = {
    "libpthread.so.0": re.compile(r"_*(?:pthread|sem)_"),
    "libdl.so.2": re.compile(r"dl"),
    "librt.so.1": re.compile(r"(?:timer|mq|aio|lio|shm)_"),
}
"""Functions that were in libraries of their own before glibc 2.34, of which empty ones are left."""

_VERSION = re.compile(r"GLIBC_(\d+(?:\.\d+)+)")
_KINDS = {"STT_FUNC": "function", "STT_LOOS": "function", "STT_OBJECT": "object"}
"""Of symbols: in pyelftools' words, where the second one is an indirect function, and in those of
the assembler."""

_HIDDEN = 0x8000
"""The bit in the index of a version that is not the default."""

_LABEL = "aotbuild_stub_"


@dataclass(frozen=True)
class Symbol:
    """A symbol of glibc."""

    library: str
    """Where it was when its version was new."""
    name: str
    version: str
    """That which is linked."""
    kind: str


def older_libraries(cxx: Sequence[str], directory: Path, store: Store) -> list[Path]:
    """Write stubs of glibc's libraries; a library is linked against them before the real ones.

    Args:
        cxx: Command of the C++ compiler.
        directory: Where they go.
        store: The cache, which keeps them.

    Returns:
        The stubs; none where the C library is another one, or the compiler can link none.
    """
    command = without_launcher(cxx)
    libraries = _libraries(command)
    directory.mkdir(parents=True, exist_ok=True)
    key = _key(command, libraries)
    if store.get(KIND, key, directory) is not Found.HIT:
        by_library = defaultdict[str, list[Symbol]](list)
        for symbol in _chosen_symbols(libraries):
            by_library[symbol.library].append(symbol)
        made = {name: directory / name for name in by_library}
        if not made or not all(_stub(command, each, by_library[n]) for n, each in made.items()):
            return []
        store.put(KIND, key, made)
    return sorted(directory.glob("*.so.*"))


def wrapped_logarithms(stubs: Sequence[Path]) -> list[str]:
    """The options that let ``standalone/system/glibc.cpp`` correct what older logarithms give."""
    if any(stub.name == "libm.so.6" for stub in stubs):
        return [f"-Wl,--wrap={name}" for name in ("log", "log2")]
    return []


def chosen(versions: Mapping[str, bool]) -> str | None:
    """The version to link: the default, or else the newest one of ``OLDEST``, or else the oldest.

    Args:
        versions: Whether each is the default.

    Returns:
        The version; None where there is no default, and nothing is linked to it.
    """
    default = next((version for version, is_default in versions.items() if is_default), None)
    if default is None or numbers(default) <= OLDEST:
        return default
    ordered = sorted(versions, key=numbers)
    old = [version for version in ordered if numbers(version) <= OLDEST]
    return old[-1] if old else ordered[0]


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version such as ``GLIBC_2.2.5``."""
    return tuple(map(int, version.removeprefix("GLIBC_").split(".")))


def _libraries(command: Sequence[str]) -> dict[str, Path]:
    """The libraries of glibc that a compiler links, by their names."""
    found = {}
    for name in _LIBRARIES:
        question = [*command, f"-print-file-name={name}"]
        done = subprocess.run(question, capture_output=True, text=True, check=False)
        path = Path(done.stdout.strip())
        if path.is_absolute() and path.is_file():
            found[name] = path
    return found


def _key(command: Sequence[str], libraries: Mapping[str, Path]) -> str:
    digests = {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in libraries.items()
    }
    return key_of(
        {
            "aotbuild": aotbuild_identity(),
            "compiler": {"command": " ".join(command), "version": compiler_version(command)},
            "glibc": digests,
        }
    )


def _chosen_symbols(libraries: Mapping[str, Path]) -> list[Symbol]:
    """All symbols of these libraries: a stub takes the place of the real one, of the same name."""
    found = []
    for library, path in libraries.items():
        for (name, kind), versions in _symbols(path).items():
            version = chosen(versions)
            if not version:
                continue
            moved = [home for home, names in _MOVED.items() if names.match(name)]
            is_older = not versions[version] and library == _LIBRARIES[0]
            home = moved[0] if moved and is_older else library
            found.append(Symbol(home, name, version, kind))
    return found


def _stub(command: Sequence[str], stub: Path, symbols: Sequence[Symbol]) -> bool:
    """Write the stub of a library; whether the compiler can."""
    versions = sorted({each.version for each in symbols}, key=numbers)
    first = f"{versions[0]} {{ local: {_LABEL}*; }};"
    nodes = [first, *(f"{version} {{ }};" for version in versions[1:])]
    with scratch(stub.parent) as temporary:
        source, script = temporary / "stub.s", temporary / "stub.map"
        source.write_text("\n".join(_assembly(symbols)) + "\n", encoding="ascii")
        script.write_text("\n".join(nodes) + "\n", encoding="ascii")
        words = ["-shared", "-nostdlib", "-s", f"-Wl,-soname,{stub.name}"]
        words += [f"-Wl,--version-script={script}", str(source), "-o", str(stub)]
        done = subprocess.run([*command, *words], capture_output=True, check=False)
    return done.returncode == 0


def _symbols(library: Path) -> dict[tuple[str, str], dict[str, bool]]:
    """The versions of each symbol by its name and kind, and whether each is the default."""
    found = defaultdict[tuple[str, str], dict[str, bool]](dict)
    with library.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".dynsym")
        indices = elf.get_section_by_name(".gnu.version")
        definitions = elf.get_section_by_name(".gnu.version_d")
        if (
            not isinstance(table, SymbolTableSection)
            or not isinstance(indices, GNUVerSymSection)
            or not isinstance(definitions, GNUVerDefSection)
        ):
            return {}
        names = {
            definition["vd_ndx"]: next(iter(auxiliaries)).name
            for definition, auxiliaries in definitions.iter_versions()
        }
        for i, symbol in enumerate(table.iter_symbols()):
            index = indices.get_symbol(i)["ndx"]
            kind = _KINDS.get(symbol["st_info"]["type"])
            if (
                kind is None
                or not isinstance(index, int)
                or symbol["st_shndx"] in {"SHN_UNDEF", "SHN_ABS"}
            ):
                continue
            version = names.get(index & ~_HIDDEN, "")
            if _VERSION.fullmatch(version):
                found[symbol.name, kind][version] = not index & _HIDDEN
    return found


def _assembly(symbols: Sequence[Symbol]) -> list[str]:
    lines = [".text"]
    for i, each in enumerate(symbols):
        label = f"{_LABEL}{i}"
        lines += [
            f".globl {label}",
            f".type {label},%{each.kind}",
            f"{label}: .long 0",
            f".size {label}, 4",
            f".symver {label},{each.name}@@{each.version}",
        ]
    return lines
