"""Whether a library can be opened where torch is not imported.

Calls with arrays open torch's CPU library and then the model's. A library that needs more of torch
opens in every step of a build, which have all imported torch, and in no program that has not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from aotbuild.errors import CompileError
from aotbuild.runtime.engines import ENGINES
from aotbuild.runtime.machine import torch_library
from aotbuild.target import Target

_CODE = """\
import ctypes, os, sys

if sys.argv[1]:
    ctypes.CDLL(sys.argv[1], mode=os.RTLD_LAZY)
try:
    # All symbols are resolved at once: what is missing would else end a process at its first use.
    ctypes.CDLL(sys.argv[2], mode=os.RTLD_NOW)
except OSError as error:
    os.write(1, str(error).encode())
os._exit(0)  # torch's library takes longer to be closed than to be opened
"""


def opens_without_torch(target: Target, op_libraries: Sequence[str], *, proxied: bool) -> bool:
    """Whether a library is opened without torch being imported, and can be on this machine.

    Args:
        target: What the library is for.
        op_libraries: The libraries of operators that it calls.
        proxied: Whether it calls operators that only torch's own runner can call.
    """
    if target.cross:  # verifying it opens it, if anything here can
        return False
    missing = ENGINES["cpu"].missing(list(target.requires))
    return target.device == "cpu" and not op_libraries and not proxied and not missing


def check_opening(library: Path, where: str, *, standalone: bool = False) -> None:
    """Open a library as calls with arrays do, in a new process.

    Args:
        library: The shared library.
        where: Where its model is declared.
        standalone: Whether it is opened without torch's library, too.

    Raises:
        CompileError: It cannot be opened.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _CODE, "" if standalone else torch_library(), library],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CompileError(
            "torch's library cannot be opened where torch is not imported",
            where=torch_library(),
            why=(done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1],
            fix="install torch again",
        )
    if done.stdout:
        raise CompileError(
            "the library cannot be opened where torch is not imported",
            where=where,
            why=done.stdout.strip(),
            fix="remove options that link other libraries (such as -l in CXX), or report it to the "
            "aotbuild project",
        )
