"""``aotbuild-report.html`` in the directory of a build: what it made, on one page for people.

One file that needs no network; all texts are escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from aotbuild.config.resolve import method_label
from aotbuild.steps.artifacts.times import StepTime
from aotbuild.steps.reports.describing import duration, short, size
from aotbuild.steps.reports.provenance import Provenance
from aotbuild.steps.reports.report import ModelReport, Report, VariantReport
from aotbuild.steps.tune.lock import Lock, Measured

FILE = "aotbuild-report.html"

_LEAST, _MOST = -9.0, 0.0
"""The exponents of ten at the ends of the axis of errors."""


@dataclass(frozen=True)
class _Bar:
    """A row of a plot: a bar that begins at its left."""

    label: str
    value: str
    share: float
    """Its length in percent of the longest one."""
    note: str = ""
    marked: bool = False


@dataclass(frozen=True)
class _Point:
    """A row of the plot of errors: a point on the axis."""

    label: str
    value: str
    place: float | None
    """In percent of the axis; None where nothing was compared."""
    note: str


def page_text(
    provenance: Provenance, report: Report, lock: Lock, steps: Sequence[tuple[str, StepTime]]
) -> str:
    """The text of the page.

    Args:
        provenance: What the package was made of.
        report: The sizes of its parts.
        lock: What is pinned of recipes.
        steps: What the log has of the steps, and how long they took.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size, "short": short}
    models = provenance.package.models
    return environment.get_template("page.html").render(
        provenance=provenance,
        total=report.installed,
        parts=_bars((part, count, size(count)) for part, count in report.parts.items()),
        points=[_point(model, v) for model in models for v in model.variants],
        ticks=[(f"1e{e:.0f}", _place(10**e)) for e in (-8.0, -6.0, -4.0, -2.0)],
        recipes=list(_recipes(provenance, lock)),
        steps=_bars(
            (label, time.seconds, duration(time.seconds), "from the cache" if time.cached else "")
            for label, time in steps
        ),
    )


def _bars(rows: Iterator[tuple[str, float, str] | tuple[str, float, str, str]]) -> list[_Bar]:
    """Bars of names, values, values in words, and notes."""
    found = list(rows)
    longest = max((row[1] for row in found), default=0) or 1
    return [_Bar(row[0], row[2], 100 * row[1] / longest, *row[3:]) for row in found]


def _point(model: ModelReport, variant: VariantReport) -> _Point:
    label, told = f"{model.name} for {variant.target}", variant.verified
    error = told.get("relative-error")
    if error is None:
        return _Point(label, "not verified", None, str(told.get("unverified", "")))
    return _Point(label, f"{error:.1e}", _place(error), str(told.get("at", "")))


def _place(error: float) -> float:
    """Where an error is on the axis, in percent."""
    exponent = math.log10(error) if 0 < error < math.inf else _LEAST if error == 0 else _MOST
    return 100 * (min(max(exponent, _LEAST), _MOST) - _LEAST) / (_MOST - _LEAST)


def _recipes(provenance: Provenance, lock: Lock) -> Iterator[tuple[str, list[_Bar]]]:
    """For each variant that was tuned what was measured, the fastest first."""
    for model in provenance.package.models:
        name, _, method = model.name.partition(".")
        for variant in model.variants:
            choice = lock.choice(name, method or "forward", variant.target)
            if choice:
                used = variant.compiled.get("recipe")
                found = sorted(choice.candidates.items(), key=lambda each: _time(each[1]))
                longest = max((_time(m) for _, m in found if m.microseconds), default=1.0)
                title = f"{method_label(name, method or 'forward')} for {variant.target}"
                yield (
                    f"{title}, measured on {choice.cpu}" if choice.cpu else title,
                    [_candidate(each, m, longest, marked=each == used) for each, m in found],
                )


def _time(measured: Measured) -> float:
    return math.inf if measured.microseconds is None else measured.microseconds


def _candidate(name: str, measured: Measured, longest: float, *, marked: bool) -> _Bar:
    """The bar of a recipe.

    Args:
        name: Its name.
        measured: How it did.
        longest: The time of the slowest one.
        marked: Whether the variant is compiled by it.
    """
    if measured.microseconds is None:
        return _Bar(name, "not timed", 0, measured.note or "", marked)
    notes = [f"{measured.ratio:.3g} x"] if measured.ratio is not None else []
    notes += [f"error {measured.error:.1e}"] if measured.error is not None else []
    value = duration(measured.microseconds / 1e6)
    return _Bar(name, value, 100 * measured.microseconds / longest, ", ".join(notes), marked)
