"""Whether the libraries of a package can be opened where torch is not imported.

Calls with arrays open torch's CPU library and then the model's. A library that needs more of torch
opens in every step of a build, which have all imported torch, and in no program that has not.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from aotbuild.config.parse import located
from aotbuild.config.resolve import call_path
from aotbuild.errors import CompileError
from aotbuild.runtime.engines import ENGINES
from aotbuild.runtime.machine import torch_library
from aotbuild.runtime.manifest import Manifest, Variant

_CODE = """\
import ctypes, os, sys

# All symbols are resolved at once: what is missing would else end a process at its first use.
ctypes.CDLL(sys.argv[1], mode=os.RTLD_LAZY)
for number, library in enumerate(sys.argv[2:]):
    try:
        ctypes.CDLL(library, mode=os.RTLD_NOW)
    except OSError as error:
        print(number, error)
        break
"""


def check_opening(package: Path, manifests: Iterable[Manifest]) -> None:
    """Open each library as calls with arrays do, in a new process.

    Args:
        package: Directory of the package.
        manifests: Of its models.

    Raises:
        CompileError: One cannot be opened.
    """
    libraries = [
        (manifest, variant)
        for manifest in manifests
        for variant in manifest.variants
        if _opens_without_torch(package, manifest, variant)
    ]
    if not libraries:
        return
    paths = [str(package / variant.library.file) for _, variant in libraries]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _CODE, torch_library(), *paths],
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
        number, _, message = done.stdout.partition(" ")
        manifest, variant = libraries[int(number)]
        raise CompileError(
            f"{variant.library.file} cannot be opened where torch is not imported",
            where=located(call_path(manifest.model, manifest.method)),
            why=message.strip(),
            fix="remove options that link other libraries (such as -l in CXX), or report it to the "
            "aotbuild project",
        )


def _opens_without_torch(package: Path, manifest: Manifest, variant: Variant) -> bool:
    """Whether a library is opened without torch being imported, and can be on this machine."""
    return (
        variant.device == "cpu"
        and not manifest.op_libraries
        and not (package / variant.library.file).with_suffix(".json").exists()
        and not ENGINES["cpu"].missing(list(variant.requires))
    )
