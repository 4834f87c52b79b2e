"""The C++ compiler as Inductor calls it, and what the compiles of all models have in common.

Most of the compile of a small model is spent on two things that are the same for every model:
torch's headers, and the code of ``std::regex``, which each library uses for one line. Where
several models are compiled, the headers are precompiled once; the regular expressions are always
an object file of their own, so that a library has the same bytes either way.
"""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from aotbuild.build.files import replacing_directory
from aotbuild.target import Target
from aotbuild.toolchain import compiler_name

Command = Callable[[str, str], list[str]]
"""The command that compiles a source file to an object file."""

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

_REGEX_TEXT = f"#include <regex>\n#include <string>\n{_REGEX.replace('{linkage}', '')}"


@dataclass(frozen=True)
class Compiler:
    """A script in place of the compiler."""

    cxx: Sequence[str]
    """The command that the script stands for."""
    script: Path
    """It adds the flags that Inductor has no option for."""
    include: Path
    """Directory in which it looks for headers first, if it is there."""
    regex: Path
    """Object file that it links to every library, if it is there."""


def write_compiler(cxx: Sequence[str], target: Target, scratch: Path) -> Compiler:
    """Write the script.

    Args:
        cxx: Command of the C++ compiler.
        target: What to compile for.
        scratch: Directory for all files, whose path stays out of the libraries.
    """
    flags = [f"-march={target.march}", "-s"]  # the last -march wins, and -s strips when linking
    paths = sysconfig.get_paths()
    mapped = {
        "/": "",
        paths["include"]: "python",
        paths["platinclude"]: "python",
        str(Path(torch.__file__).parent): "torch",
        str(scratch): "build",
    }
    # g++ takes the last map that fits: the general one goes first.
    flags += [f"-ffile-prefix-map={old}={new}" for old, new in mapped.items()]
    directory = scratch / "compiler"
    directory.mkdir()
    script = directory / compiler_name(cxx)  # Inductor tells compilers apart by their names
    common = scratch / "common"
    include, regex = common / "include", common / "regex.o"
    script.write_text(
        "#!/bin/sh\n"
        f'case " $* " in *" -shared "*) [ -e {regex} ] && set -- "$@" {regex} ;; esac\n'
        f'exec {shlex.join(cxx)} -I{include} "$@" {shlex.join(flags)}\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    return Compiler(cxx, script, include, regex)


def share(compiler: Compiler, wrapper: Command, kernel: Command, cache: Path | None) -> None:
    """Provide what all models have in common.

    Args:
        compiler: The compiler.
        wrapper: Compiles the code around the kernels.
        kernel: Compiles kernels.
        cache: Directory in which it is kept for other compiles, with precompiled headers, which
            pay from the third compile; None for this compile alone, without them.
    """
    name = compiler.script.name
    if not name.endswith("g++") or "clang" in name:
        return  # others look for precompiled headers in other ways
    common = compiler.include.parent
    if cache is None:
        common.mkdir()
        _compile(common, wrapper, kernel, precompile=False)
        return
    told = [
        *wrapper("source", "object"),
        *kernel("source", "object"),
        _identity(compiler.cxx),
        *_HEADERS.values(),
    ]
    text = "\n".join(told).replace(str(common.parent), "")
    kept = cache / hashlib.sha256(text.encode()).hexdigest()[:32]
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{kept}.lock"):
        if not kept.is_dir():
            with replacing_directory(kept) as directory:
                _compile(directory, wrapper, kernel, precompile=True)
    common.symlink_to(kept)


def _identity(cxx: Sequence[str]) -> str:
    """What precompiled headers depend on besides the command."""
    header = Path(torch.__file__).with_name("version.py")
    version = subprocess.run([*cxx, "--version"], capture_output=True, text=True, check=False)
    return f"{shlex.join(cxx)} {version.stdout} {header} {header.stat().st_mtime_ns}"


def _compile(directory: Path, wrapper: Command, kernel: Command, *, precompile: bool) -> None:
    include = directory / "include"
    for header, text in _HEADERS.items():
        (include / header).parent.mkdir(parents=True, exist_ok=True)
        (include / header).write_text(text, encoding="utf-8")
    regex = directory / "regex.cpp"
    regex.write_text(_REGEX_TEXT, encoding="utf-8")
    commands = [wrapper(str(regex), str(directory / "regex.o"))]
    precompiled = {_WRAPPER: wrapper, _KERNEL: kernel} if precompile else {}
    for header, command in precompiled.items():
        source = directory / f"{header.stem}.h"
        source.write_text(f"#include <{header}>\n", encoding="utf-8")
        told = command(str(source), str(source.with_suffix(".gch")))
        position = told.index(str(source))
        commands.append([*told[:position], f"-I{include}", "-x", "c++-header", *told[position:]])
    running = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    ended = [process.wait() for process in running]
    if any(ended):
        # Another C++ library has other regular expressions inside. Nothing is shared then.
        for header in _HEADERS:
            (include / header).unlink()
        (directory / "regex.o").unlink(missing_ok=True)
        return
    for header in precompiled:
        (directory / f"{header.stem}.gch").rename(include / f"{header}.gch")
