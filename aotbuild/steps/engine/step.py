"""Step engine: the extension module that checks and runs the models of a package on the CPU.

It is compiled for each package, so that a wheel needs nothing but torch, and for Python's stable
ABI, so that it serves every Python from the oldest one on. A Python without the GIL does not have
that ABI: there it serves this one version (``engine.h`` finds out which).
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from aotbuild.cache.history import key_of
from aotbuild.cache.store import Found, Store
from aotbuild.errors import warn
from aotbuild.interpreter import ENGINE
from aotbuild.steps.artifacts.spec import EngineSpec, read_spec
from aotbuild.steps.artifacts.stamps import write_engine_compiled
from aotbuild.steps.c_compiler import compile_c
from aotbuild.steps.identity import aotbuild_identity, compile_environment, compiler_parts
from aotbuild.steps.sources import source_directory

KIND = "engines"


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
            _compile(output / ENGINE, store)
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


def _compile(module: Path, store: Store) -> None:
    """Compile the engine.

    Args:
        module: The extension module.
        store: The cache.

    Raises:
        CompileError: The compiler refuses it.
    """
    linking = ["-shared", "-s", "-ldl"]
    if sys.platform == "darwin":
        linking = ["-shared", "-undefined", "dynamic_lookup"]
    directory = source_directory("aotbuild") / "engine"
    files = {path.name: path.read_bytes() for path in directory.glob("*.[ch]")}
    options = [f"-I{sysconfig.get_path('include')}", *linking]
    compile_c(module, files, options, store, "the native engine", "aotbuild/engine")
