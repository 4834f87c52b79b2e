"""Step engine: the extension module that checks and runs the models of a package on the CPU.

It is compiled for each package, so that a wheel needs nothing but torch, and for Python's stable
ABI, so that it serves every Python from the oldest one on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from aotbuild.cache.history import key_of
from aotbuild.cache.store import Found, Store
from aotbuild.errors import CompileError, warn
from aotbuild.steps.artifacts.engine_library import ENGINE
from aotbuild.steps.artifacts.spec import EngineSpec, read_spec
from aotbuild.steps.artifacts.stamps import write_engine_compiled
from aotbuild.steps.files import replacing, scratch
from aotbuild.steps.identity import aotbuild_identity, compile_environment, compiler_parts
from aotbuild.steps.sources import source_directory
from aotbuild.toolchain import NO_FAST_MATH, find_cxx

KIND = "engines"

_FLAGS = ["-std=c11", "-O2", "-fPIC", "-fvisibility=hidden"]


def run(spec_file: Path) -> None:
    """Run the step; the specification is an ``EngineSpec``."""
    spec = read_spec(EngineSpec, spec_file)
    output = Path(spec.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / ENGINE).unlink(missing_ok=True)
    reason = _unsupported()
    if reason:
        warn(
            "the package is built without its native engine",
            where="environment",
            why=reason,
            fix="it works all the same, by torch's own runner: calls take some microseconds more "
            "and hold the interpreter's lock",
        )
    else:
        store, key = Store.of_build(), engine_key()
        if store.get(KIND, key, output) is not Found.HIT:
            _compile(output / ENGINE)
            store.put(KIND, key, {ENGINE: output / ENGINE})
    write_engine_compiled(output, reason)


def engine_key() -> str:
    """The key of the engine in the cache."""
    return key_of(
        {
            "aotbuild": aotbuild_identity(),
            "compiler": compiler_parts(),
            "environment": compile_environment(),
            "python": {"version": sys.version, "platform": sysconfig.get_platform()},
        }
    )


def _unsupported() -> str:
    """Why there can be no engine, or nothing."""
    if os.name != "posix":
        return f"there is none for {sys.platform} yet"
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        return (
            "Python's headers are not installed (Debian: apt-get install python3-dev; "
            "Fedora: dnf install python3-devel)"
        )
    return ""


def _compile(module: Path) -> None:
    """Compile the engine.

    Raises:
        CompileError: The compiler refuses it.
    """
    linking = ["-shared", "-s", "-ldl"]
    if sys.platform == "darwin":
        linking = ["-shared", "-undefined", "dynamic_lookup"]
    with (
        replacing(module) as temporary,
        scratch(module.parent) as directory,
    ):
        # By names of their own: the compiler notes them.
        for source in (source_directory("aotbuild") / "engine").glob("*.[ch]"):
            (directory / source.name).write_bytes(source.read_bytes())
        command = find_cxx()
        for name in sorted(path.name for path in directory.glob("*.c")):
            command += ["-x", "c", name]  # of which g++ would make C++, one by one
        command += ["-x", "none", f"-I{sysconfig.get_path('include')}"]
        done = subprocess.run(
            [*command, *NO_FAST_MATH, *_FLAGS, *linking, "-o", str(temporary.absolute())],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CompileError(
                "the native engine could not be compiled",
                where="aotbuild/engine",
                why=done.stderr.strip(),
                fix="set CXX to another compiler; g++ 9 or newer is known to work",
            )
