"""Run the native engine's input matrix under AddressSanitizer and UBSan: ``make sanitize``.

The packages are built as usual. In the installed packages, the engine is compiled again with the
sanitizers, and the tests of calls run against it. An error that they find ends the process of a
case, and so fails its test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from interpreters import replace_engine

from aotbuild.toolchain import find_cxx

REPOSITORY = Path(__file__).parents[2]
VARIABLE = "AOTBUILD_SANITIZE"
TESTS = [
    "test_calls.py",
    "test_calls_random.py",
    "test_arrays.py",
    "test_nested.py",
    "test_aliases.py",
    "test_weights.py",
    "test_processes.py",
    "test_batching.py",
    "test_damage.py",
    "test_remembering.py",
    "test_standalone.py",
    "test_weights_alone.py",
]
_FLAGS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1"]


def environment() -> dict[str, str]:
    """What a process needs that loads a sanitized engine; empty where none is asked for."""
    if not os.environ.get(VARIABLE):
        return {}
    compiler = find_cxx()[0]
    found = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        "LD_PRELOAD": ":".join(found),
        # Python itself and torch keep memory to the end.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def sanitize(site: Path) -> None:
    """Put a sanitized engine in the place of those of all packages below a directory."""
    if not os.environ.get(VARIABLE):
        return
    for engine in list(site.rglob("_runtime/_engine.*.so")):
        with tempfile.TemporaryDirectory() as directory:
            sanitized = Path(directory) / engine.name
            compile_engine(sanitized, sysconfig.get_path("include"), _FLAGS)
            replace_engine(engine.parents[1], sanitized)


def compile_engine(engine: Path, include: str, flags: Sequence[str]) -> None:
    """Compile the engine by hand.

    Args:
        engine: The extension module.
        include: Where the headers of its Python are.
        flags: Further options of the compiler.
    """
    command = find_cxx()
    for source in sorted((REPOSITORY / "aotbuild" / "engine").glob("*.c")):
        command += ["-x", "c", str(source)]
    command += ["-x", "none", f"-I{include}", *flags]
    command += ["-std=c11", "-fPIC", "-fvisibility=hidden", "-shared", "-ldl"]
    subprocess.run([*command, "-o", str(engine)], check=True)


if __name__ == "__main__":
    tests = [str(REPOSITORY / "tests" / "wheels" / name) for name in TESTS]
    # Where a test tells apart what a process holds, the sanitizer's own memory would count.
    left_out = "not torch- and not leak and not leave_the_memory and not neither_copies"
    left_out += " and not memory_stays and not without_memory"
    # These start programs of their own, or look at which functions the engine calls.
    left_out += " and not another_device and not its_own_test and not older_systems"
    arguments = [*tests, "-k", left_out, *sys.argv[1:]]
    command = [sys.executable, "-m", "pytest", *arguments]
    sys.exit(subprocess.run(command, env={**os.environ, VARIABLE: "1"}, check=False).returncode)
