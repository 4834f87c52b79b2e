"""``python -m aotbuild.steps <step> <spec file>``: run one step of a build."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from aotbuild.errors import reported
from aotbuild.progress.events import cached, heard, told
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
    or ``--all``. Every other step takes its specification file, and what it is called where
    somebody watches the build.
    """
    usage = (
        "usage: python -m aotbuild.steps plan PROJECT [--runtimes=NAME=RUNTIME,...] "
        "[--torch=VERSIONS] [--version=VERSION] [--develop=MODE] MODEL... | "
        f"{{{'|'.join(MODULES)}}} SPEC [LABEL]"
    )
    if len(arguments) < 2:
        raise SystemExit(usage)
    step, path, *names = arguments
    with reported():
        if step == "plan":
            from aotbuild.steps.plan.plan import plan

            given = ",".join(_options(names, _RUNTIMES)).split(",")
            runtimes = dict(pair.split("=", 1) for pair in given if pair)
            required = next(_options(names, _TORCH), "")
            version = next(_options(names, _VERSION), "")
            develop = next(_options(names, _DEVELOP), "")
            models = [name for name in names if not name.startswith(_PLANNING)]
            plan(Path(path), models, Path.cwd(), runtimes, required, version, develop)
        elif step in MODULES and len(names) <= 1:
            began = time.monotonic()
            with told(path, *names or [""]) as work:
                _run(step, path)
                if names and heard():
                    from aotbuild.steps.made import size_of

                    work.size = size_of(step, Path(path))
            write_time(Path(path), time.monotonic() - began, cached=work.cached)
        else:
            raise SystemExit(usage)


def _run(step: str, path: str) -> None:
    """Run a step, as far as the cache does not have what it would make."""
    if step == "compile":
        from aotbuild.steps.compile.variant_cache import restored

        if restored(Path(path)):
            cached()
            return
    status = None if step == "engine" else run_forked(step, path)  # which needs no torch
    if status:
        raise SystemExit(status)
    if status is None:
        run_step(step, path)


def _options(arguments: list[str], option: str) -> Iterator[str]:
    """The values that are given to an option."""
    return (each.removeprefix(option) for each in arguments if each.startswith(option))


if __name__ == "__main__":
    main(sys.argv[1:])
