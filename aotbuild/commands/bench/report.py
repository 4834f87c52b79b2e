"""The figures of ``bench`` as data: ``--json`` prints these classes as they are."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aotbuild.errors import BenchError

FORMAT = 1
"""Version of the report."""


@dataclass(frozen=True)
class Case:
    """A model at some sizes, by one of its variants."""

    model: str
    target: str
    """What it was compiled for, or the other runtime that runs it."""
    sizes: dict[str, int]
    """The size of each dimension."""
    median: float
    """Seconds of a call."""
    low: float
    high: float
    """Between these the median is, at 95%."""
    p90: float
    """Seconds that nine calls of ten take at most."""
    first: float
    """Seconds of the first call of a process."""
    imports: float
    """Seconds until the model is imported, or prepared for the other runtime."""
    memory: int
    """Bytes that the import and the calls add to a process."""
    samples: int
    error: float | None = None
    """The largest difference from the compiled model's results, by the largest of these; none for
    the compiled model itself."""

    @property
    def label(self) -> str:
        """What tells it from other cases."""
        sizes = self.place[1]
        return f"{self.model} by {self.target}" + (f" at {sizes}" if sizes else "")

    @property
    def place(self) -> tuple[str, str]:
        """The model and its sizes: what other runtimes run, too."""
        return self.model, ", ".join(f"{name} = {size}" for name, size in self.sizes.items())


@dataclass(frozen=True)
class BenchReport:
    """All figures of a wheel or a package."""

    where: str
    cpu: str
    cores: int
    threads: int
    """Of a call; 0 for as many as there are cores."""
    load: float
    """Processes that wanted to run when it began; above 1, the machine was busy."""
    cases: list[Case]
    left_out: list[str] = field(default_factory=list)
    """What another runtime could not run, and why."""
    format: int = FORMAT


def made_case(model: str, sizes: Mapping[str, int], runs: Sequence[Mapping[str, Any]]) -> Case:
    """The figures of a case, of what its processes measured.

    Args:
        model: Its name.
        sizes: The size of each dimension.
        runs: What each process printed.
    """
    samples = sorted(sample for run in runs for sample in run["samples"])
    low, high = interval(samples)
    return Case(
        model,
        str(runs[0]["target"]),
        dict(sizes),
        statistics.median(samples),
        low,
        high,
        samples[min(len(samples) - 1, math.ceil(0.9 * len(samples)) - 1)],
        statistics.median(run["first"] for run in runs),
        statistics.median(run["import"] for run in runs),
        int(statistics.median(run["memory"] for run in runs)),
        len(samples),
        runs[0].get("error"),
    )


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """An interval for the median of what samples are of, at 95%, by their ranks.

    Args:
        ordered: The samples, the smallest first.
    """
    count = len(ordered)
    reach = 0.98 * math.sqrt(count)  # 1.96 standard deviations of the rank, which are sqrt(n) / 2
    low, high = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
    return ordered[max(0, low)], ordered[min(count - 1, high)]


@dataclass(frozen=True)
class Comparison:
    """A case beside the same one of an older report."""

    case: Case
    old: Case

    @property
    def ratio(self) -> float:
        """The new time, by the old one."""
        return self.case.median / self.old.median


def compared(report: BenchReport, old: BenchReport) -> list[Comparison]:
    """The cases of compiled models that both reports have."""
    before = {case.label: case for case in old.cases}
    ours = [case for case in report.cases if case.error is None]
    return [Comparison(case, before[case.label]) for case in ours if case.label in before]


def beside(report: BenchReport) -> dict[str, float]:
    """The times of other runtimes by the best of the compiled model, by the labels of the cases."""
    best: dict[tuple[str, str], float] = {}
    for case in report.cases:
        if case.error is None:
            best[case.place] = min(case.median, best.get(case.place, math.inf))
    others = [case for case in report.cases if case.error is not None and case.place in best]
    return {case.label: case.median / best[case.place] for case in others}


def read_report(path: Path) -> BenchReport:
    """Read what ``bench --json`` printed.

    Raises:
        BenchError: It is not that.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["format"] != FORMAT:
            raise BenchError(
                f"the report has format {table['format']}",
                where=str(path),
                why=f"this aotbuild reads {FORMAT}",
                fix="measure the old wheel again",
            )
        cases = [Case(**case) for case in table.pop("cases")]
        return BenchReport(**table, cases=cases)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(
            "this is no report of bench",
            where=str(path),
            why=str(error),
            fix="name a file that aotbuild bench --json printed",
        ) from None


def slower(comparisons: Iterable[Comparison], percent: float) -> list[Comparison]:
    """Those that take more than so many percent longer than before."""
    return [each for each in comparisons if each.ratio > 1 + percent / 100]
