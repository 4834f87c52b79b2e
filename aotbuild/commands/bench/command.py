"""``bench``: what is measured, and printing it."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.commands.bench import others, worker
from aotbuild.commands.bench.plot import plot
from aotbuild.commands.bench.report import (
    BenchReport,
    Case,
    beside,
    compared,
    made_case,
    read_report,
    slower,
)
from aotbuild.commands.inspect.command import contents_of
from aotbuild.commands.tables import print_heading, print_json, print_table
from aotbuild.config.project import load_declared
from aotbuild.errors import BenchError
from aotbuild.runtime.loader import LEVEL_VARIABLE
from aotbuild.runtime.machine import cores, cpu_name, this_platform
from aotbuild.steps.reports.contents import Contents
from aotbuild.steps.reports.describing import duration, size
from aotbuild.steps.reports.report import ModelReport, PackageReport, make_report

_ROUNDS = 3
"""Processes for each case, in turns with those of others; one where it is not to take long."""

_FEW = 16
"""The larger of the two sizes that are measured where none are named."""


@dataclass(frozen=True)
class _Planned:
    package: str
    model: ModelReport
    level: str
    sizes: Mapping[str, int]
    arm: str = ""
    """Another runtime; empty for the compiled model."""

    @property
    def directory(self) -> str:
        return self.model.name.replace(".", "/")


def bench(
    name: str,
    models: Sequence[str],
    *,
    sizes: Mapping[str, Sequence[int]],
    threads: int = 0,
    seconds: float = 1.0,
    arms: Sequence[str] = (),
    project: Path | None = None,
    picture: Path | None = None,
    against: Path | None = None,
    fail_above: float | None = None,
    json: bool = False,
) -> int:
    """Measure the models of a wheel, a directory or an installed package.

    Args:
        name: Its path, or its name.
        models: The names of the models; all where empty.
        sizes: The sizes to measure, by the names of dimensions.
        threads: Threads of a call; 0 for as many as there are cores.
        seconds: How long each case is measured.
        arms: Other runtimes to measure, too.
        project: The directory of the project that declares the models, for these.
        picture: Where a plot goes.
        against: An older report.
        fail_above: By how many percent a case may be slower than there.
        json: Whether it is printed as JSON.

    Returns:
        0, or 1 where a case is slower than it may be.

    Raises:
        BenchError: Nothing of it can be measured here.
        InspectError: It has no models.
    """
    old = read_report(against) if against else None
    home = (project or Path.cwd()).resolve()
    with ExitStack() as stack:
        contents = contents_of(name)
        directory = _importable(contents, stack)
        report = make_report(contents)
        planned = [
            case for package in report.packages for case in _planned(package, models, sizes, arms)
        ]
        if not planned:
            raise BenchError(
                "there is nothing to measure",
                where=contents.where,
                why=f"no model of these names is in it: {', '.join(models)}"
                if models
                else f"no model in it was compiled for {this_platform()}",
                fix="aotbuild inspect shows what is in it",
            )
        if arms:
            _check_project(home)
        load = os.getloadavg()[0]
        common = {"threads": threads, "project": str(home)}
        cases, left_out = _measured(planned, directory, common, seconds)
        measured = BenchReport(contents.where, cpu_name(), cores(), threads, load, cases, left_out)
    if picture:
        _write(picture, plot(measured))
    comparisons = compared(measured, old) if old else []
    if json:
        print_json(measured)
    else:
        _print(measured, {each.case.label: each.ratio for each in comparisons})
    late = slower(comparisons, fail_above) if fail_above is not None else []
    for each in late:
        print(  # noqa: T201
            f"aotbuild: {each.case.label} takes {each.ratio:.2f} of what it took: "
            f"{duration(each.case.median)}, before {duration(each.old.median)}",
            file=sys.stderr,
        )
    return int(bool(late))


def _check_project(directory: Path) -> None:
    """Make sure that there is torch, and a project that declares models.

    Raises:
        BenchError: There is no torch.
        ConfigError: There is no such project.
    """
    if importlib.util.find_spec("torch") is None:
        raise BenchError(
            "other runtimes cannot be measured",
            where="--beside",
            why="torch is not installed, which makes the models for them",
            fix="pip install torch, or leave out --beside",
        )
    load_declared(directory)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BenchError(
            "the plot cannot be written",
            where=str(path),
            why=error.strerror or str(error),
            fix="name a file in a directory that exists",
        ) from None


def _importable(contents: Contents, stack: ExitStack) -> Path:
    """The directory that Python finds the packages in: of a wheel a temporary one."""
    if contents.kind == "wheel":
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aotbuild-")))
        with zipfile.ZipFile(contents.path) as archive:
            archive.extractall(directory)
        return directory
    root = contents.path
    while (root / "__init__.py").is_file():
        root = root.parent
    return root


def _planned(
    package: PackageReport,
    models: Sequence[str],
    sizes: Mapping[str, Sequence[int]],
    arms: Sequence[str],
) -> Iterator[_Planned]:
    for model in package.models:
        if models and model.name not in models:
            continue
        levels = [
            variant.target.removeprefix("cpu-")
            for variant in model.variants
            if variant.platform == this_platform() and variant.device == "cpu"
        ]
        for each in _sizes(model, sizes):
            for level in levels:
                yield _Planned(package.package, model, level, each)
            for arm in arms if levels else ():
                yield _Planned(package.package, model, "", each, arm)


def _sizes(model: ModelReport, wanted: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    """The sizes to measure a model at: those that are wanted, else its smallest and a few."""
    choices: dict[str, list[int]] = {}
    for dim, of in model.dims.items():
        step, low = of["multiple_of"], of["min"]
        low = -(-max(low, 1) // step) * step
        most = of["max"] if of["max"] is not None else max(low, _FEW)
        usual = sorted({low, max(low, min(most, _FEW) // step * step)})
        choices[dim] = list(wanted.get(dim, usual))
    if not wanted and choices:  # all at their smallest, and all at their larger one
        return [{d: c[0] for d, c in choices.items()}, {d: c[-1] for d, c in choices.items()}]
    return [dict(zip(choices, each, strict=True)) for each in itertools.product(*choices.values())]


def _measured(
    planned: Sequence[_Planned], directory: Path, common: Mapping[str, Any], seconds: float
) -> tuple[list[Case], list[str]]:
    """The cases, and what was left out of them."""
    runs: list[list[dict[str, Any]]] = [[] for _ in planned]
    rounds = _ROUNDS if seconds else 1
    left_out: dict[int, str] = {}
    for _ in range(rounds):
        for number, case in enumerate(planned):
            if number in left_out:
                continue
            found = _run(case, directory, {**common, "seconds": seconds / rounds})
            if "left_out" in found:
                left_out[number] = f"{case.model.name} by {case.arm}: {found['left_out']}"
            else:
                runs[number].append(found)
    cases = [
        made_case(case.model.name, case.sizes, own)
        for number, (case, own) in enumerate(zip(planned, runs, strict=True))
        if number not in left_out
    ]
    return cases, list(dict.fromkeys(left_out.values()))


def _run(case: _Planned, directory: Path, common: Mapping[str, Any]) -> dict[str, Any]:
    spec = {
        **common,
        "package": case.package,
        "model": case.model.name,
        "directory": case.directory,
        "sizes": case.sizes,
        "arm": case.arm,
    }
    program = ["-m", others.__name__] if case.arm else [str(worker.__file__)]
    # Where another runtime is measured, aotbuild is there as it is here.
    paths = [str(directory), *filter(None, [os.environ.get("PYTHONPATH") if case.arm else None])]
    level = {LEVEL_VARIABLE: case.level} if case.level else {}
    done = subprocess.run(
        [sys.executable, "-P", *program, json.dumps(spec)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **level},
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if case.arm:
            return {"left_out": said}
        raise BenchError(
            f"{case.model.name} cannot be measured as compiled for {case.level}",
            where=f"{case.package}, at {dict(case.sizes)}" if case.sizes else case.package,
            why=said,
            fix="python -m " + case.package + " tells whether it runs here; --size names sizes "
            "that it takes",
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _print(report: BenchReport, ratios: Mapping[str, float]) -> None:
    threads = report.threads or report.cores
    title = f": {report.cpu}, {threads} thread{'s' * (threads > 1)}"
    print_heading(report.where, title)
    head = ["model", "compiled for", "sizes", "median", "interval", "p90", "calls/s"]
    head += ["first", "import", "memory", *(["of before"] if ratios else [])]
    others = beside(report)
    head += ["of the best", "differs by"] if others else []
    rows = [
        [
            case.model,
            case.target,
            ", ".join(f"{name}={count}" for name, count in case.sizes.items()),
            duration(case.median),
            f"{duration(case.low)} to {duration(case.high)}",
            duration(case.p90),
            f"{1 / case.median:,.0f}",
            duration(case.first),
            duration(case.imports),
            size(case.memory),
            *([f"{ratios[case.label]:.2f}" if case.label in ratios else "-"] if ratios else []),
            *(_beside(case, others) if others else []),
        ]
        for case in report.cases
    ]
    print_table(head, rows, {3, *range(5, len(head))})
    for each in report.left_out:
        print_heading("left out: ", each)
    if report.load > 1:
        print_heading(
            "note: ",
            f"{report.load:.1f} processes wanted to run when it began: measure on a machine that "
            "does nothing else",
        )


def _beside(case: Case, others: Mapping[str, float]) -> list[str]:
    """How a case is beside the compiled model."""
    if case.error is None:
        return ["", ""]
    return [f"{others[case.label]:.2f}", f"{case.error:.0e}" if case.error else "0"]
