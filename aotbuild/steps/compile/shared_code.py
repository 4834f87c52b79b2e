"""What the compiles of all models have in common, compiled once.

Most of the compile of a small model is spent on what is the same for every model: torch's headers,
the interface of a library (the container of models behind its C functions), and the code of
``std::regex``, which each library uses for one line. Where several models are compiled, the headers
are precompiled once; interface and regular expressions are always an object file of their own, so
that a library has the same bytes either way.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from aotbuild.cache.local import touch
from aotbuild.steps.compile.cxx import (
    AROUND,
    INCLUDE,
    KERNELS,
    OBJECT,
    SOURCE,
    WRAPPER,
    Compiler,
    CompilerCall,
    interface_code,
    path_names,
)
from aotbuild.steps.compile.small_headers import have_regular_expressions, with_small_headers
from aotbuild.target import lowest
from aotbuild.toolchain import compiler_version, without_launcher

_KERNEL = Path("torch/csrc/inductor/cpp_prefix.h")
"""What the kernels include first."""

_REGEX = """\
#ifdef __GLIBCXX__
namespace std { namespace __detail {
{linkage} template class _Scanner<char>;
{linkage} template class _NFA<std::regex_traits<char>>;
{linkage} template class _Compiler<std::regex_traits<char>>;
} }
#endif
"""
"""What takes long to compile, of the C++ library that g++ comes with."""

_HEADERS = {
    WRAPPER: f"""\
#pragma GCC system_header
#include_next <{WRAPPER}>
#include <regex>
#include <string>
{_REGEX.replace("{linkage}", "extern")}""",
    # Files of several kernels include it again, where g++ cannot use the precompiled one.
    _KERNEL: f"#pragma GCC system_header\n#include_next <{_KERNEL}>\n",
}
"""What is found in place of torch's headers, and includes them."""

_DIGESTS = "digests.json"
"""In the directory of a part: what all of its other files are."""


@contextlib.contextmanager
def sharing(
    compiler: Compiler,
    wrapper: CompilerCall,
    kernel: CompilerCall,
    cache: Path | None,
    *,
    precompile: bool,
) -> Iterator[Callable[[], None]]:
    """Compile what all models have in common in the background, unless another compile does.

    Args:
        compiler: The compiler.
        wrapper: Compiles the code around the kernels.
        kernel: Compiles kernels.
        cache: Directory in which other compiles find it; None for this compile alone.
        precompile: Whether headers are precompiled too, which pays from the third compile.

    Yields:
        What waits until it is there.
    """
    name = compiler.script.name
    if not name.endswith("g++") or "clang" in name:
        yield lambda: None  # others look for precompiled headers in other ways
        return
    low, own = lowest(compiler.target).march, compiler.target.march
    common = _common_text(compiler)
    few = [_Part(AROUND, wrapper, low, WRAPPER, common, precompile=False)]
    many = [
        _Part(AROUND, wrapper, low, WRAPPER, common, precompile=True),
        _Part(KERNELS, kernel, own, _KERNEL, "", precompile=True),
    ]
    room = cache is not None and _has_room(cache, precompile=precompile)
    directory = cache if cache is not None and room else compiler.own
    directory.mkdir(parents=True, exist_ok=True)
    there = all(_place(part, compiler, directory).is_dir() for part in many)
    parts = many if precompile or there else few
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(_shared(part, compiler, directory)) for part in parts]

        def ready() -> None:
            for wait in waiting:
                wait()

        yield ready


@dataclass(frozen=True)
class _Part:
    """A part of what all models have in common, which one command compiles."""

    name: str
    command: CompilerCall
    march: str
    header: Path
    """What is found in place of torch's header of this name."""
    source: str
    """Source of an object file; none if empty."""
    precompile: bool
    """Whether the header is precompiled."""


def _place(part: _Part, compiler: Compiler, directory: Path) -> Path:
    """Where a part is kept, by all that it depends on."""
    lines = [*part.command("source", "object"), part.march, _HEADERS[part.header], part.source]
    scratch = compiler.shared.parent
    if part.precompile:  # it names the headers that it is of
        header = Path(torch.__file__).with_name("version.py")
        lines += [f"{header} {header.stat().st_mtime_ns}", "precompiled"]
        text = "\n".join(lines).replace(str(scratch), "")
    else:
        text = "\n".join([*lines, torch.__version__, str(torch.version.git_version)])
        for path, name in path_names(scratch).items():
            text = text.replace(path, name)
    cxx = without_launcher(compiler.cxx)
    text = f"{text}{compiler.headers}\n{shlex.join(cxx)}\n{compiler_version(cxx)}"
    return directory / f"{part.name}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


@contextlib.contextmanager
def _shared(part: _Part, compiler: Compiler, directory: Path) -> Iterator[Callable[[], None]]:
    place = _place(part, compiler, directory)
    lock = FileLock(f"{place}.lock")
    build: _Build | None = None
    try:
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            if place.is_dir():
                lock.release()
            else:
                build = _Build(place, part)
    except OSError:  # such as a full disk
        lock.release(force=True)
        shutil.rmtree(_unfinished(place), ignore_errors=True)
        if directory == compiler.own:
            raise
        compiler.own.mkdir(exist_ok=True)
        with _shared(part, compiler, compiler.own) as wait:
            yield wait
        return

    @functools.cache
    def ready() -> None:
        if build is not None:
            build.finish()
            lock.release()
        with lock:  # another compile may be at it, or have failed, in its own words
            whole = place.is_dir() and (build is not None or _is_whole(place))
            if place.is_dir() and not whole:
                shutil.rmtree(place, ignore_errors=True)
                _Build(place, part).finish()
                whole = place.is_dir()
            if whole:
                touch(place)
                (compiler.shared / part.name).symlink_to(place)

    try:
        yield ready
    finally:
        if build is not None:
            build.cancel()
        lock.release(force=True)


def _common_text(compiler: Compiler) -> str:
    """The source of the common object file."""
    code = interface_code()
    if compiler.headers:
        code = with_small_headers(code)
    if not compiler.headers or have_regular_expressions():
        code = f"#include <regex>\n{_REGEX.replace('{linkage}', '')}\n{code}"
    return f"#include <{WRAPPER}>\n{code}\n"


_ROOM = {True: 600 << 20, False: 20 << 20}
"""Bytes that parts take, with precompiled headers and without."""


def _has_room(directory: Path, *, precompile: bool) -> bool:
    """Whether a disk is not so full that it would only be found out in the middle."""
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free > _ROOM[precompile]


def _unfinished(place: Path) -> Path:
    """Where a part is made."""
    return place.with_name(f".{place.name}.part")


def _contents(place: Path) -> str:
    """Digests of all files of a part."""
    digests = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and path != place / _DIGESTS:
            with path.open("rb") as file:
                digests[str(path.relative_to(place))] = hashlib.file_digest(
                    file, "sha256"
                ).hexdigest()
    return json.dumps(digests)


def _is_whole(place: Path) -> bool:
    """Whether a part is there, and is what was written."""
    try:
        return (place / _DIGESTS).read_text("utf-8") == _contents(place)
    except OSError:
        return False


class _Build:
    """A part, while it is compiled."""

    def __init__(self, place: Path, part: _Part) -> None:
        self._place = place
        self._directory = _unfinished(place)
        shutil.rmtree(self._directory, ignore_errors=True)
        include = self._directory / INCLUDE
        (include / part.header).parent.mkdir(parents=True)
        (include / part.header).write_text(_HEADERS[part.header], encoding="utf-8")
        commands = []
        if part.source:
            source = self._directory / SOURCE
            source.write_text(part.source, encoding="utf-8")
            command = part.command(str(source), str(self._directory / OBJECT))
            commands.append([*command, f"-I{include}"])
        self._precompiled = {}
        if part.precompile:
            source = self._directory / part.header.name
            source.write_text(f"#include <{part.header}>\n", encoding="utf-8")
            precompiled = source.with_suffix(".gch")
            self._precompiled[precompiled] = include / f"{part.header}.gch"
            command = part.command(str(source), str(precompiled))
            at = command.index(str(source))
            commands.append([*command[:at], f"-I{include}", "-x", "c++-header", *command[at:]])
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._running = [subprocess.Popen(command, **quiet) for command in commands]

    def finish(self) -> None:
        """Wait for the end, and put it in its place."""
        ended = [process.wait() for process in self._running]
        if any(ended):
            # Another C++ library has other regular expressions inside, or the disk is full, which
            # may pass. Nothing is shared then.
            shutil.rmtree(self._directory, ignore_errors=True)
            return
        for made, place in self._precompiled.items():
            made.rename(place)
        try:
            (self._directory / _DIGESTS).write_text(_contents(self._directory), encoding="utf-8")
            self._directory.rename(self._place)
        except OSError:
            shutil.rmtree(self._directory, ignore_errors=True)

    def cancel(self) -> None:
        """Stop it, if it was not waited for."""
        for process in self._running:
            process.kill()
            process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
