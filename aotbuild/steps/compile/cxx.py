"""The C++ compiler as Inductor calls it, and what the compiles of all models have in common.

Most of the compile of a small model is spent on what is the same for every model: torch's headers,
the interface of a library (the container of models behind its C functions), and the code of
``std::regex``, which each library uses for one line. Where several models are compiled, the headers
are precompiled once; interface and regular expressions are always an object file of their own, so
that a library has the same bytes either way.

Only kernels are compiled for the CPU level of a library. The code around them is for the lowest
level, so that it is shared between levels too.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shlex
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from aotbuild.cache.local import touch
from aotbuild.target import Target, lowest
from aotbuild.toolchain import NO_FAST_MATH, compiler_name, compiler_version, without_launcher

CompilerCall = Callable[[str, str], list[str]]
"""Gives the command that compiles a source file to an object file."""

_WRAPPER = Path("torch/csrc/inductor/aoti_include/cpu.h")
"""What the code around the kernels includes first."""
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
    _WRAPPER: f"""\
#pragma GCC system_header
#include_next <{_WRAPPER}>
#include <regex>
#include <string>
{_REGEX.replace("{linkage}", "extern")}""",
    # Files of several kernels include it again, where g++ cannot use the precompiled one.
    _KERNEL: f"#pragma GCC system_header\n#include_next <{_KERNEL}>\n",
}
"""What is found in place of torch's headers, and includes them."""

_INTERFACE = Path("_inductor/codegen/aoti_runtime/interface.cpp")
"""What Inductor writes into the code around the kernels of each model, in torch's package."""
_AROUND, _KERNELS = "around", "kernels"
_SOURCE, _OBJECT, _INCLUDE = "common.cpp", "common.o", "include"
"""In the directory of what is shared."""

_DIGESTS = "digests.json"
"""In it, too: what all of its other files are."""

_IDLE = ".idle"
"""After the name of the script: the file whose presence lets it only make empty files."""

_WITHOUT_LIBTORCH = """\
  for word do
    shift
    [ "$word" = -ltorch ] || set -- "$@" "$word"
  done"""
"""In the script, where a library is linked: leaves libtorch out.

Inductor (torch 2.13 to 2.15) links it beside libtorch_cpu, which has all that a library needs. The
libtorch of CUDA builds also defines symbols of C++'s own library, such as a constructor of
``std::stringstream``: a library bound to these needs libtorch, which is not found before torch is
imported. ``test_libtorch_is_not_linked`` builds such a library without the script.
"""

_MODEL = "#include <torch/csrc/inductor/aoti_runtime/model.h>\n"
"""What the rest of that code needs of it."""


@dataclass(frozen=True)
class Compiler:
    """A script in place of the compiler."""

    cxx: Sequence[str]
    """The command that the script stands for."""
    target: Target
    script: Path
    """It adds the flags that Inductor has no option for."""
    shared: Path
    """Directory of what is shared."""

    @property
    def includes(self) -> list[Path]:
        """Directories in which the script looks for headers first, if they are there."""
        return [self.shared / part / _INCLUDE for part in (_AROUND, _KERNELS)]

    @property
    def common(self) -> Path:
        """Object file that the script links to every library, if it is there."""
        return self.shared / _AROUND / _OBJECT

    @property
    def own(self) -> Path:
        """Where what is shared is kept if no other compile is to have it."""
        return self.shared / "kept"

    def idle(self) -> None:
        """Compile nothing from now on: the library is known."""
        self.script.with_name(f"{self.script.name}{_IDLE}").touch()

    def identity(self, *calls: CompilerCall) -> str:
        """What the bytes of a library depend on, besides its code."""
        lines = [" ".join(call("source", "object")) for call in calls]
        text = "\n".join([self.script.read_text("utf-8"), *lines])
        # Where all of it lies is in no library.
        for path, name in _paths(self.script.parent.parent).items():
            text = text.replace(path, name)
        cxx = without_launcher(self.cxx)
        text = text.replace(shlex.join(self.cxx), shlex.join(cxx))
        return f"{shlex.join(cxx)} {compiler_version(cxx)} {torch.__version__}\n{text}"

    def split(self, wrapper: str) -> str:
        """The code around the kernels, without what is in the common object file."""
        interface = _interface()
        if self.common.exists() and interface in wrapper:
            return wrapper.replace(interface, _MODEL, 1)
        # Another torch, or another compiler: the whole is compiled for each model.
        self.common.parent.unlink(missing_ok=True)
        return wrapper


def _paths(scratch: Path) -> dict[str, str]:
    """Directories of this machine, and what stands for them in a library."""
    paths = sysconfig.get_paths()
    return {
        paths["include"]: "python",
        paths["platinclude"]: "python",
        str(Path(torch.__file__).parent): "torch",
        str(scratch): "build",
    }


def write_compiler(cxx: Sequence[str], target: Target, scratch: Path) -> Compiler:
    """Write the script.

    Args:
        cxx: CompilerCall of the C++ compiler.
        target: What to compile for.
        scratch: Directory for all files, whose path stays out of the libraries.
    """
    flags = ["-s"]  # strips when linking
    # g++ takes the last map that fits: the general one goes first.
    mapped = {"/": "", **_paths(scratch)}
    flags += [f"-ffile-prefix-map={old}={new}" for old, new in mapped.items()]
    directory = scratch / "compiler"
    directory.mkdir()
    script = directory / compiler_name(cxx)  # Inductor tells compilers apart by their names
    shared = scratch / "shared"
    shared.mkdir()
    compiler = Compiler(cxx, target, script, shared)
    searched = " ".join(f"-I{directory}" for directory in compiler.includes)
    around = rf"*.wrapper.cpp\ *|*/{_SOURCE}\ *|*/{_WRAPPER.name}\ *"
    script.write_text(
        f"""#!/bin/sh
if [ -e "$0{_IDLE}" ]; then
  while [ "$1" != -o ]; do shift || exit 1; done
  : > "$2"
  exit
fi
march={target.march}
case " $* " in
*" -shared "*)
{_WITHOUT_LIBTORCH}
  set -- "$@" {shlex.join(NO_FAST_MATH)}
  [ -e {compiler.common} ] && set -- "$@" {compiler.common} ;;
{around}) march={lowest(target).march} ;;
esac
# The last -march wins.
exec {shlex.join(cxx)} {searched} "$@" {shlex.join(flags)} -march=$march
""",
        encoding="utf-8",
    )
    script.chmod(0o755)
    return compiler


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
    few = [_Part(_AROUND, wrapper, low, _WRAPPER, _common_text(), precompile=False)]
    many = [
        _Part(_AROUND, wrapper, low, _WRAPPER, _common_text(), precompile=True),
        _Part(_KERNELS, kernel, own, _KERNEL, "", precompile=True),
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
        for path, name in _paths(scratch).items():
            text = text.replace(path, name)
    cxx = without_launcher(compiler.cxx)
    text = f"{text}\n{shlex.join(cxx)}\n{compiler_version(cxx)}"
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


@functools.cache
def _interface() -> str:
    """The code of the interface, as Inductor writes it."""
    file = Path(torch.__file__).parent / _INTERFACE
    # A torch that has it elsewhere gets what is in no code.
    return file.read_text("utf-8").strip() if file.is_file() else "#error"


def _common_text() -> str:
    """The source of the common object file."""
    regex = _REGEX.replace("{linkage}", "")
    return f"#include <{_WRAPPER}>\n#include <regex>\n{regex}\n{_interface()}\n"


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
        include = self._directory / _INCLUDE
        (include / part.header).parent.mkdir(parents=True)
        (include / part.header).write_text(_HEADERS[part.header], encoding="utf-8")
        commands = []
        if part.source:
            source = self._directory / _SOURCE
            source.write_text(part.source, encoding="utf-8")
            command = part.command(str(source), str(self._directory / _OBJECT))
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
