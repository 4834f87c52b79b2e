"""``python -m aotbuild.build <step> <spec file>``: run one step of a build."""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path

from aotbuild.build.compile_cache import restored
from aotbuild.build.forkserver import run_forked
from aotbuild.errors import quieten, reported

STEPS = ("native", "export", "tune", "compile", "verify", "levels", "bundle")


def main(arguments: list[str]) -> None:
    """Run the step that the command line names.

    ``plan <project directory> <model>...`` plans the build in the current directory; the models
    are names, or ``--all``. Every other step takes its specification file.
    """
    usage = f"usage: python -m aotbuild.build plan PROJECT MODEL... | {{{'|'.join(STEPS)}}} SPEC"
    if len(arguments) < 2:
        raise SystemExit(usage)
    step, path, *names = arguments
    with reported():
        if step == "plan":
            from aotbuild.build.plan import plan

            plan(Path(path), names, Path.cwd())
        elif step in STEPS and not names:
            if step == "compile" and restored(Path(path)):
                return
            status = None if step == "native" else run_forked(step, path)  # which needs no torch
            if status is not None:
                raise SystemExit(status)
            run_step(step, path)
        else:
            raise SystemExit(usage)


def run_step(step: str, spec: str) -> None:
    """Run a step in this process."""
    with reported():
        quieten()
        # Importing torch makes many objects that stay: looking for garbage among them takes a
        # tenth of a step's time.
        gc.set_threshold(100_000, 20, 100)
        importlib.import_module(f"aotbuild.build.{step}").run(Path(spec))


if __name__ == "__main__":
    main(sys.argv[1:])
