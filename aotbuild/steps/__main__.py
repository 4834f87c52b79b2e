"""``python -m aotbuild.steps <step> <spec file>``: run one step of a build."""

from __future__ import annotations

import sys
from pathlib import Path

from aotbuild.errors import reported
from aotbuild.steps.compile.variant_cache import restored
from aotbuild.steps.forkserver import run_forked
from aotbuild.steps.run import MODULES, run_step


def main(arguments: list[str]) -> None:
    """Run the step that the command line names.

    ``plan <project directory> <model>...`` plans the build in the current directory; the models
    are names, or ``--all``. Every other step takes its specification file.
    """
    usage = f"usage: python -m aotbuild.steps plan PROJECT MODEL... | {{{'|'.join(MODULES)}}} SPEC"
    if len(arguments) < 2:
        raise SystemExit(usage)
    step, path, *names = arguments
    with reported():
        if step == "plan":
            from aotbuild.steps.plan.plan import plan

            plan(Path(path), names, Path.cwd())
        elif step in MODULES and not names:
            if step == "compile" and restored(Path(path)):
                return
            status = None if step == "engine" else run_forked(step, path)  # which needs no torch
            if status is not None:
                raise SystemExit(status)
            run_step(step, path)
        else:
            raise SystemExit(usage)


if __name__ == "__main__":
    main(sys.argv[1:])
