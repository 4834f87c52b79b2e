"""Linking without torch: a library gets the functions of ``aotbuild/standalone`` that it calls.

The script in place of the compiler (``cxx.py``) keeps the objects of a model; they are linked here,
with those sources alone that define what they call.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from filelock import FileLock

from aotbuild.cache.history import key_of
from aotbuild.cache.store import Found, Store
from aotbuild.errors import CompileError
from aotbuild.runtime.machine import cores
from aotbuild.steps.compile.cxx import Compiler
from aotbuild.steps.files import replacing
from aotbuild.steps.identity import aotbuild_identity, torch_identity
from aotbuild.steps.older_glibc import older_libraries, wrapped_logarithms
from aotbuild.steps.sources import source_directory
from aotbuild.toolchain import NO_FAST_MATH, PLAIN_STACK, compiler_version, without_launcher

KIND = "standalone"
"""Of entries in the cache: an object file each."""

_ALWAYS = ("glibc", "interface", "lookup", "terminate")
"""Sources that each library needs, besides what they need."""
_STREAMS = {"_ZSt4cerr": "streams", "_ZSt4cout": "streams", "_ZSt4clog": "streams"}
"""What sets up streams of C++'s library, by their names."""

_FLAGS = [
    *("-std=c++20", "-O2", "-DNDEBUG", "-fPIC", "-fopenmp", "-ffp-contract=off"),
    *("-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"),
]
_EXPORTED = "exported.map"
_LOCK = "standalone.lock"

_INCLUDED = re.compile(r'^#include "([\w/]+)\.h"', re.MULTILINE)
_DEFINED = re.compile(r"// Defined in .*")
_SOURCE = re.compile(r"(\w+)\.cpp")
"""What a header tells of the sources that define what it declares, if they have not its name."""
_UNDEFINED = re.compile(r"undefined reference to [`']([^'(]+)")
_NAMED = re.compile(r"\b((?:aoti_torch|Sleef)_\w*)(##)?")
"""A function that a source names, or what its name begins with where a macro completes it."""


@dataclass(frozen=True)
class Source:
    """A source file, and those that it needs."""

    path: Path
    needs: frozenset[str]
    """Names of other sources, by the headers that it includes."""
    names: frozenset[str]
    """Functions that it names, and so may define."""
    beginnings: tuple[str, ...]
    """Of the names that macros complete."""

    def may_define(self, name: str) -> bool:
        """Whether it may define a function."""
        return name in self.names or name.startswith(self.beginnings)


@functools.cache
def sources() -> dict[str, Source]:
    """All sources by their names, without suffix."""
    directory = source_directory("aotbuild") / "standalone"
    found = {}
    for path in sorted([*directory.glob("*.cpp"), *directory.glob("system/*.cpp")]):
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
        named = _NAMED.findall(text)
        found[path.stem] = Source(
            path,
            frozenset(needs - {path.stem}),
            frozenset(name for name, completed in named if not completed),
            tuple(sorted({name for name, completed in named if completed})),
        )
    return found


def functions_in(code: str) -> set[str]:
    """The functions of torch's interface in C that code names."""
    return {name for name, _ in _NAMED.findall(code)}


def only_of_torch(code: str) -> list[str]:
    """The functions of torch's interface in C that code names and no source may define."""
    return sorted(
        name
        for name in functions_in(code)
        if not any(each.may_define(name) for each in sources().values())
    )


def needed(undefined: Iterable[str]) -> list[str]:
    """The sources that define these symbols, and what those need, by name."""
    waiting = [*_ALWAYS]
    for name in undefined:
        waiting += [source for source, each in sources().items() if each.may_define(name)]
        waiting += [_STREAMS[name]] if name in _STREAMS else []
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
        directory: For those objects; compiles that share it wait for one another.
        missing: The error for functions that only torch has.

    Raises:
        CompileError: The code calls such functions.
    """
    objects = compiler.objects()
    chosen, own = set[str](), list[Path]()
    # Functions of some sources call those of others.
    while not chosen.issuperset(wanted := needed(missing_symbols([*objects, *own]))):
        chosen.update(wanted)
        own = compiled_sources(compiler, sorted(chosen), store, directory)
    exported = source_directory("aotbuild") / "standalone" / _EXPORTED
    stubs = older_libraries(compiler.cxx, compiler.script.with_name("glibc"), store)
    with replacing(library) as temporary:
        done = subprocess.run(
            [
                *compiler.cxx,
                *("-shared", "-fPIC", "-s", *NO_FAST_MATH, f"-march={compiler.target.march}"),
                *map(str, [*objects, *own]),
                *link_options(stubs, exported),
                *("-o", str(temporary)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            functions = sorted(set(_UNDEFINED.findall(done.stderr)))
            raise missing(functions) if functions else not_linked(done.stderr)


def link_options(stubs: Sequence[Path], exported: Path) -> list[str]:
    """The options that link C++'s library privately, for systems older than this one.

    They follow the objects.

    Args:
        stubs: Of glibc's libraries.
        exported: The linker's script of the functions that others call.
    """
    return [
        # The archive comes first: a stub is needed only by what precedes it.
        *("-Wl,-Bstatic", "-lstdc++", "-Wl,-Bdynamic", "-Wl,--as-needed", *map(str, stubs)),
        *wrapped_logarithms(stubs),
        *PLAIN_STACK,
        *("-static-libstdc++", "-static-libgcc", "-Wl,--gc-sections", "-Wl,-z,defs"),
        *(f"-Wl,--version-script={exported}", "-Wl,-z,noseparate-code", "-pthread", "-lm"),
    ]


def not_linked(output: str) -> CompileError:
    """The error for a library that the linker refuses, with what it says."""
    return CompileError(
        "the library could not be linked",
        where="aotbuild/standalone",
        why=output.strip()[-1000:],
        fix="set CXX to g++ 11 or newer",
    )


def compiled_sources(
    compiler: Compiler, names: Sequence[str], store: Store, directory: Path
) -> list[Path]:
    """The object files of sources, compiled side by side where they are not known.

    Args:
        compiler: What compiles the model.
        names: The sources.
        store: The cache, which keeps the objects.
        directory: For the objects; compiles that share it wait for one another.

    Raises:
        CompileError: The compiler refuses one.
    """
    headers = Path(torch.__file__).parent / "include"
    command = [
        *(*compiler.cxx, *_flags(), f"-march={compiler.target.march}"),
        *(f"-I{compiler.own_headers}", f"-I{headers}"),
        *(f"-ffile-prefix-map={headers.parent}=torch", "-c"),
    ]
    directory.mkdir(exist_ok=True)
    keys = {name: _key(compiler, name) for name in names}
    objects = {name: directory / f"{name}-{key[:16]}.o" for name, key in keys.items()}

    def compiled(name: str, made: Path) -> tuple[int, str]:
        source = sources()[name].path
        own = f"-ffile-prefix-map={source.parent}=standalone"
        part = made.with_suffix(".part")  # a build that is stopped leaves no half of an object
        words = [*command, own, str(source), "-o", str(part)]
        done = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
        if not done.returncode:
            part.replace(made)
        return done.returncode, done.stderr

    failed = []
    # Another model of this build may be at it.
    with FileLock(directory / _LOCK), ThreadPoolExecutor(cores()) as threads:
        missing = [
            name
            for name, made in objects.items()
            if not made.exists() and store.get(KIND, keys[name], directory) is not Found.HIT
        ]
        ended = threads.map(lambda name: compiled(name, objects[name]), missing)
        for name, (status, errors) in zip(missing, ended, strict=True):
            if status:
                failed.append((name, errors))
            else:
                store.put(KIND, keys[name], {objects[name].name: objects[name]})
    if failed:
        name, errors = failed[0]
        raise CompileError(
            f"aotbuild/standalone/{name}.cpp could not be compiled",
            where="aotbuild/standalone",
            why=errors.strip()[-1000:],
            fix='set CXX to g++ 11 or newer, or runtime = "torch"',
        )
    return list(objects.values())


def _flags() -> list[str]:
    """The flags for the sources, with what they have to know of this torch."""
    return [*_FLAGS, f"-DAOTBUILD_TORCH_HAS_MKL={int(_has_mkl())}"]


def _has_mkl() -> bool:
    return bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]


def _key(compiler: Compiler, name: str) -> str:
    cxx = without_launcher(compiler.cxx)
    return key_of(
        {
            "source": {"name": name, "march": compiler.target.march, "flags": " ".join(_flags())},
            "aotbuild": aotbuild_identity(),
            "torch": torch_identity(),
            "compiler": {"command": " ".join(cxx), "version": compiler_version(cxx)},
            "python": {"platform": sys.platform},
        }
    )


def missing_symbols(objects: Iterable[Path]) -> set[str]:
    """The symbols that object files need and none of them defines."""
    symbols: dict[bool, set[str]] = {True: set(), False: set()}
    for path in objects:
        with path.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            if isinstance(table, SymbolTableSection):
                for symbol in table.iter_symbols():
                    symbols[symbol["st_shndx"] != "SHN_UNDEF"].add(symbol.name)
    return symbols[False] - symbols[True]
