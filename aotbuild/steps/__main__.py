"""``python -m aotbuild.steps <step> <spec file>``: run one step of a build."""

from __future__ import annotations

import sys
from pathlib import Path

from aotbuild.errors import reported
from aotbuild.steps.forkserver import run_forked
from aotbuild.steps.run import MODULES, run_step

_RUNTIMES = "--runtimes="


def main(arguments: list[str]) -> None:
    """Run the step that the command line names.

    ``plan <project directory> [--runtimes=net=torch,...] <model>...`` plans the build in the
    current directory; the models are names, or ``--all``. Every other step takes its specification
    file.
    """
    usage = (
        "usage: python -m aotbuild.steps plan PROJECT [--runtimes=NAME=RUNTIME,...] MODEL... | "
        f"{{{'|'.join(MODULES)}}} SPEC"
    )
    if len(arguments) < 2:
        raise SystemExit(usage)
    step, path, *names = arguments
    with reported():
        if step == "plan":
            from aotbuild.steps.plan.plan import plan

            told = [name.removeprefix(_RUNTIMES) for name in names if name.startswith(_RUNTIMES)]
            runtimes = dict(pair.split("=", 1) for pair in ",".join(told).split(",") if pair)
            plan(Path(path), names[len(told) :], Path.cwd(), runtimes)
        elif step in MODULES and not names:
            if step == "compile":
                from aotbuild.steps.compile.variant_cache import restored

                if restored(Path(path)):
                    return
            status = None if step == "engine" else run_forked(step, path)  # which needs no torch
            if status is not None:
                raise SystemExit(status)
            run_step(step, path)
        else:
            raise SystemExit(usage)


if __name__ == "__main__":
    main(sys.argv[1:])
