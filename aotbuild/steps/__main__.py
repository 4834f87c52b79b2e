"""``python -m aotbuild.steps <step> <spec file>``: run one step of a build."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from aotbuild.errors import reported
from aotbuild.steps.artifacts.times import write_time
from aotbuild.steps.forkserver import run_forked
from aotbuild.steps.run import MODULES, run_step

_RUNTIMES, _TORCH = "--runtimes=", "--torch="
_VERSION, _DEVELOP = "--version=", "--develop="

_PLANNING = (_RUNTIMES, _TORCH, _VERSION, _DEVELOP)


def main(arguments: list[str]) -> None:
    """Run the step that the command line names.

    ``plan <project directory> [--runtimes=net=torch,...] [--torch=>=2.13] [--version=1.0]
    [--develop=eager] <model>...`` plans the build in the current directory; the models are names,
    or ``--all``. Every other step takes its specification file.
    """
    usage = (
        "usage: python -m aotbuild.steps plan PROJECT [--runtimes=NAME=RUNTIME,...] "
        "[--torch=VERSIONS] [--version=VERSION] [--develop=MODE] MODEL... | "
        f"{{{'|'.join(MODULES)}}} SPEC"
    )
    if len(arguments) < 2:
        raise SystemExit(usage)
    step, path, *names = arguments
    with reported():
        if step == "plan":
            from aotbuild.steps.plan.plan import plan

            told = ",".join(_options(names, _RUNTIMES)).split(",")
            runtimes = dict(pair.split("=", 1) for pair in told if pair)
            required = next(_options(names, _TORCH), "")
            version = next(_options(names, _VERSION), "")
            develop = next(_options(names, _DEVELOP), "")
            models = [name for name in names if not name.startswith(_PLANNING)]
            plan(Path(path), models, Path.cwd(), runtimes, required, version, develop)
        elif step in MODULES and not names:
            began = time.monotonic()
            cached = _run(step, path)
            write_time(Path(path), time.monotonic() - began, cached=cached)
        else:
            raise SystemExit(usage)


def _run(step: str, spec: str) -> bool:
    """Run a step that is no plan.

    Returns:
        Whether the cache had its result.
    """
    if step == "compile":
        from aotbuild.steps.compile.variant_cache import restored

        if restored(Path(spec)):
            return True
    status = None if step == "engine" else run_forked(step, spec)  # which needs no torch
    if status is None:
        run_step(step, spec)
    elif status:
        raise SystemExit(status)
    return False


def _options(arguments: list[str], option: str) -> Iterator[str]:
    """The values that are given to an option."""
    return (each.removeprefix(option) for each in arguments if each.startswith(option))


if __name__ == "__main__":
    main(sys.argv[1:])
