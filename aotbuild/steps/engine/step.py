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
from aotbuild.progress.events import cached
from aotbuild.steps.artifacts.spec import EngineSpec, read_spec
from aotbuild.steps.artifacts.stamps import write_engine_compiled
from aotbuild.steps.c_compiler import compile_c
from aotbuild.steps.identity import aotbuild_identity, compile_environment, compiler_parts
from aotbuild.steps.sources import source_directory
from aotbuild.target import this_architecture

KIND = "engines"


def run(spec_file: Path) -> None:
    """Run the step; the specification is an ``EngineSpec``."""
    spec = read_spec(EngineSpec, spec_file)
    output = Path(spec.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / ENGINE).unlink(missing_ok=True)
    reason = unsupported()
    if reason:
        warn(
            "the package is built without its native engine",
            where="environment",
            why=reason,
            fix="it works all the same, by torch's own runner: calls take some microseconds more "
            "and hold the interpreter's lock",
        )
    else:
        store, key = Store.of_build(), engine_key(spec.architecture)
        if store.get(KIND, key, output) is Found.HIT:
            cached()
        else:
            _compile(output / ENGINE, store, spec.architecture)
            store.put(KIND, key, {ENGINE: output / ENGINE})
    write_engine_compiled(output, reason)


def engine_key(architecture: str = "") -> str:
    """The key of the engine in the cache.

    Args:
        architecture: What it is compiled for, if that is not this machine's.
    """
    return key_of(
        {
            "aotbuild": aotbuild_identity(),
            "compiler": compiler_parts(architecture),
            "environment": compile_environment(),
            "python": {"version": sys.version, "platform": sysconfig.get_platform()},
        }
    )


def unsupported() -> str:
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


def _compile(module: Path, store: Store, architecture: str) -> None:
    """Compile the engine.

    Args:
        module: The extension module.
        store: The cache.
        architecture: What it is compiled for, if that is not this machine's.

    Raises:
        CompileError: The compiler refuses it.
    """
    linking = ["-shared", "-s", "-ldl"]
    if sys.platform == "darwin":
        linking = ["-shared", "-undefined", "dynamic_lookup"]
    directory = source_directory("aotbuild") / "engine"
    files = {path.name: path.read_bytes() for path in directory.glob("*.[ch]")}
    include = Path(sysconfig.get_path("include"))
    if architecture:
        files |= _configuration(include, architecture)
    options = ["-I.", f"-I{include}", *linking]
    compile_c(module, files, options, store, "the native engine", "aotbuild/engine", architecture)


def _configuration(include: Path, architecture: str) -> dict[str, bytes]:
    """This Python's configuration where its headers look for that of another architecture.

    Debian's ``pyconfig.h`` includes one for each architecture, of which only this machine's is
    installed; others have one alone. What the stable ABI takes of it is the same on all 64-bit
    Linux systems: ``engine.h`` compares the sizes.

    Args:
        include: Directory of Python's headers.
        architecture: What is compiled for.
    """
    version = f"python{sysconfig.get_python_version()}"
    name = f"{architecture}-linux-gnu/{version}/pyconfig.h"
    own = include.parent / f"{this_architecture()}-linux-gnu" / version / "pyconfig.h"
    if name not in (include / "pyconfig.h").read_text("utf-8") or not own.is_file():
        return {}
    return {name: own.read_bytes()}
