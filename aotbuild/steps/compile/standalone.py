"""Linking without torch: a library gets the functions of ``aotbuild/standalone`` that it calls.

The script in place of the compiler (``cxx.py``) keeps the objects of a model; they are linked here,
with those sources alone that define what they call.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from aotbuild.cache.history import key_of
from aotbuild.cache.store import Found, Store
from aotbuild.errors import CompileError
from aotbuild.steps.compile.cxx import Compiler
from aotbuild.steps.files import replacing
from aotbuild.steps.identity import aotbuild_identity, torch_identity
from aotbuild.steps.sources import source_directory
from aotbuild.toolchain import NO_FAST_MATH, compiler_version, without_launcher

KIND = "standalone"
"""Of entries in the cache: an object file each."""

_ALWAYS = ("interface", "lookup")
"""Sources that each library needs, besides what they need."""

_FLAGS = [
    *("-std=c++20", "-O2", "-DNDEBUG", "-fPIC", "-fopenmp", "-ffp-contract=off"),
    *("-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"),
]
_EXPORTED = "exported.map"

_INCLUDED = re.compile(r'^#include "([\w/]+)\.h"', re.MULTILINE)
_DEFINED = re.compile(r"// Defined in .*")
_SOURCE = re.compile(r"(\w+)\.cpp")
"""What a header tells of the sources that define what it declares, if they have not its name."""
_UNDEFINED = re.compile(r"undefined reference to [`']([^'(]+)")
_CALLED = re.compile(r"\b(aoti_torch_\w+|Sleef_)")
"""Names of functions that sources define; of vector functions they have but the beginning."""


@dataclass(frozen=True)
class Source:
    """A source file, and those that it needs."""

    path: Path
    needs: frozenset[str]
    """Names of other sources, by the headers that it includes."""
    names: frozenset[str]
    """Functions that it may define."""


@functools.cache
def sources() -> dict[str, Source]:
    """All sources by their names, without suffix."""
    directory = source_directory("aotbuild") / "standalone"
    found = {}
    for path in sorted(directory.glob("*.cpp")):
        text = path.read_text("utf-8")
        needs, seen = set[str](), set[str]()
        waiting = _INCLUDED.findall(text)
        while waiting:
            header = waiting.pop()
            file = directory / f"{header}.h"
            if header in seen or not file.is_file():
                continue
            seen.add(header)
            declared = file.read_text("utf-8")
            waiting += _INCLUDED.findall(declared)
            told = _DEFINED.search(declared)
            needs |= set(_SOURCE.findall(told[0])) if told else {header}
        needs = {name for name in needs if (directory / f"{name}.cpp").is_file()}
        found[path.stem] = Source(
            path, frozenset(needs - {path.stem}), frozenset(_CALLED.findall(text))
        )
    return found


def needed(undefined: Iterator[str] | Sequence[str]) -> list[str]:
    """The sources that define these symbols, and what those need, by name."""
    names = {name if name.startswith("aoti_") else name[: len("Sleef_")] for name in undefined}
    waiting = [*_ALWAYS]
    waiting += [source for source, each in sources().items() if each.names & names]
    chosen = set[str]()
    while waiting:
        source = waiting.pop()
        if source not in chosen:
            chosen.add(source)
            waiting += sources()[source].needs
    return sorted(chosen)


def link(
    compiler: Compiler,
    library: Path,
    store: Store,
    directory: Path,
    missing: Callable[[Sequence[str]], CompileError],
) -> None:
    """Link the objects of a model into a library that needs no torch.

    Args:
        compiler: What compiled the objects.
        library: The library.
        store: The cache, which keeps the objects of the sources.
        directory: For those objects.
        missing: The error for functions that only torch has.

    Raises:
        CompileError: The code calls such functions.
    """
    objects = compiler.objects()
    undefined = {name for path in objects for name in _undefined(path)}
    own = _compiled(compiler, needed(sorted(undefined)), store, directory)
    exported = source_directory("aotbuild") / "standalone" / _EXPORTED
    with replacing(library) as temporary:
        done = subprocess.run(
            [
                *compiler.cxx,
                *("-shared", "-fPIC", "-s", *NO_FAST_MATH, f"-march={compiler.target.march}"),
                *map(str, [*objects, *own]),
                *("-static-libstdc++", "-static-libgcc", "-Wl,--gc-sections", "-Wl,-z,defs"),
                *(f"-Wl,--version-script={exported}", "-pthread", "-lm", "-o", str(temporary)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            functions = sorted(set(_UNDEFINED.findall(done.stderr)))
            raise missing(functions) if functions else _not_linked(done.stderr)


def _not_linked(output: str) -> CompileError:
    return CompileError(
        "the library could not be linked",
        where="aotbuild/standalone",
        why=output.strip()[-1000:],
        fix="set CXX to g++ 11 or newer",
    )


def _compiled(
    compiler: Compiler, names: Sequence[str], store: Store, directory: Path
) -> list[Path]:
    """The object files of sources, compiled side by side where they are not known.

    Raises:
        CompileError: The compiler refuses one.
    """
    headers = Path(torch.__file__).parent / "include"
    command = [
        *(*compiler.cxx, *_FLAGS, f"-march={compiler.target.march}", f"-I{headers}"),
        *(f"-ffile-prefix-map={headers.parent}=torch", "-c"),
    ]
    directory.mkdir(exist_ok=True)
    objects, running = [], {}
    for name in names:
        made = directory / f"{name}.o"
        objects.append(made)
        key = _key(compiler, name)
        if made.exists() or store.get(KIND, key, directory) is Found.HIT:
            continue
        own = f"-ffile-prefix-map={sources()[name].path.parent}=standalone"
        words = [*command, own, str(sources()[name].path), "-o", str(made)]
        running[made, key] = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    errors = {}
    for (made, key), process in running.items():
        errors[made] = process.communicate()[1] if process.wait() is not None else ""
        if not process.returncode:
            store.put(KIND, key, {made.name: made})
    for (made, _), process in running.items():
        if process.returncode:
            raise CompileError(
                f"aotbuild/standalone/{made.stem}.cpp could not be compiled",
                where="aotbuild/standalone",
                why=errors[made].strip()[-1000:],
                fix='set CXX to g++ 11 or newer, or runtime = "torch"',
            )
    return objects


def _key(compiler: Compiler, name: str) -> str:
    cxx = without_launcher(compiler.cxx)
    return key_of(
        {
            "source": {"name": name, "march": compiler.target.march, "flags": " ".join(_FLAGS)},
            "aotbuild": aotbuild_identity(),
            "torch": torch_identity(),
            "compiler": {"command": " ".join(cxx), "version": compiler_version(cxx)},
            "python": {"platform": sys.platform},
        }
    )


def _undefined(path: Path) -> Iterator[str]:
    """The symbols that an object file needs."""
    with path.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        if isinstance(table, SymbolTableSection):
            for symbol in table.iter_symbols():
                if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name:
                    yield symbol.name
