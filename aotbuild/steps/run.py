"""Running one step in this process."""

from __future__ import annotations

import gc
import importlib
from pathlib import Path

from aotbuild.errors import reported
from aotbuild.progress.events import at_work
from aotbuild.torch_output import quieten, quieten_torch

MODULES = {
    "engine": "aotbuild.steps.engine.step",
    "export": "aotbuild.steps.export.step",
    "tune": "aotbuild.steps.tune.step",
    "compile": "aotbuild.steps.compile.step",
    "verify": "aotbuild.steps.verify.step",
    "levels": "aotbuild.steps.tune.levels",
    "bundle": "aotbuild.steps.bundle.step",
}
"""The steps by name.

Each module has ``run(spec_file)``. One may have ``prepare(spec_file)``, which the server of a build
calls before each of its forks: what it keeps, the steps that follow have.
"""

_INSIDE_TORCH = {"export": "export", "tune": "compile", "compile": "compile"}
"""Steps that reach inside torch, and what for: see ``aotbuild.steps.torch_parts``."""


def run_step(step: str, spec: str) -> None:
    """Run a step in this process.

    Args:
        step: Its name.
        spec: The path of its specification file.
    """
    with reported():
        quieten()
        at_work(spec)
        # Importing torch makes many objects that stay: looking for garbage among them takes a
        # tenth of a step's time.
        gc.set_threshold(100_000, 20, 100)
        if step in _INSIDE_TORCH:
            from aotbuild.steps.torch_parts.moved import check_parts

            check_parts(_INSIDE_TORCH[step])
        module = importlib.import_module(MODULES[step])
        quieten_torch()
        module.run(Path(spec))
