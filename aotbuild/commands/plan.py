"""``plan``: which steps a build would run, and why."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import loads as json_of
from pathlib import Path

from aotbuild.cache.notes import Notes
from aotbuild.cache.settings import cache_settings
from aotbuild.cache.store import Found, Store
from aotbuild.commands.explain import CACHE_OFF, Explained, explain
from aotbuild.commands.tables import print_heading, print_json, print_table
from aotbuild.commands.tracing import checked_project, traced_models
from aotbuild.config.project import Project
from aotbuild.config.resolve import method_label
from aotbuild.config.runtimes import declared_choice, undecided, with_runtimes
from aotbuild.hook.build_settings import build_settings
from aotbuild.hook.runtimes import choosing_label
from aotbuild.progress.durations import Durations
from aotbuild.progress.words import passed
from aotbuild.steps.choose.chosen import known_choice
from aotbuild.steps.engine.step import KIND as ENGINES
from aotbuild.steps.engine.step import engine_key, unsupported
from aotbuild.steps.plan.plan import planned_steps
from aotbuild.steps.plan.planned_step import PlannedStep
from aotbuild.steps.tune.lock import FILE, read_lock
from aotbuild.target import cross_architecture

_ALWAYS = {
    "export": "a build traces each model",
    "verify": "a build compares each compiled model with the eager one",
    "levels": "a build times the levels beside each other",
    "bundle": "it writes the package",
}
"""Why steps run that are not in the cache."""


@dataclass(frozen=True)
class StepReport:
    """A step of a build."""

    step: str
    does: str
    """What the log of a build calls it."""
    model: str
    """The model; empty where it is for all of them."""
    target: str
    """What it compiles for, or compares; empty where it is for all targets."""
    cached: bool
    """Whether the cache has what it would make."""
    why: str
    """Why it has not, or why the step runs in any case; empty where it has."""
    seconds: float | None = None
    """How long it took when it last ran on this machine; null where that is not known."""


@dataclass(frozen=True)
class PlanReport:
    """What a build would run."""

    steps: list[StepReport]
    notes: list[str]
    format: int = 1


def plan_project(directory: Path, names: Sequence[str], *, json: bool = False) -> int:
    """Print which steps a build would run.

    Args:
        directory: Directory of the pyproject.toml.
        names: The models; all of them when empty.
        json: Whether it is printed as JSON.

    Returns:
        0, or 1 when a model cannot be traced; why has been printed to standard error then.

    Raises:
        AotBuildError: The declaration is wrong.
    """
    with contextlib.redirect_stdout(sys.stderr if json else sys.stdout):
        report, failed = _planned(directory, names)
    if json:
        print_json(report)
    else:
        _print(report)
    return int(failed)


def _print(report: PlanReport) -> None:
    rows = [
        (each.does, "in the cache" if each.cached else "runs", _last(each), each.why)
        for each in report.steps
    ]
    looks = {"in the cache": "green", "runs": "yellow"}
    print_table(("step", "", "last took", "why"), rows, (2,), looks)
    for note in report.notes:
        print_heading(note)


def _last(step: StepReport) -> str:
    return "" if step.seconds is None else passed(step.seconds)


def _planned(directory: Path, names: Sequence[str]) -> tuple[PlanReport, bool]:
    """The steps of a build, and whether one of the models cannot be traced."""
    declared, chosen = checked_project(directory, names)
    explained: dict[str, Explained] = {}
    choices: dict[str, str] = {}
    for name, model, choice, _ in traced_models(declared, chosen):
        choices[name] = choice.runtime
        decided = with_runtimes(declared, {name: choice.runtime})
        explained |= {each.label: each for each in explain(decided, name, model)}
    project = with_runtimes(declared, choices)
    steps = list(_choosing(declared, list(choices)))
    planned = planned_steps(project, list(choices), read_lock(project.root)) if choices else []
    steps += [_report(step, explained) for step in planned]
    durations = Durations(project.package)
    timed = [dataclasses.replace(each, seconds=durations.before(each.does)) for each in steps]
    return PlanReport(timed, list(_notes(project))), list(choices) != chosen


def _choosing(project: Project, names: Collection[str]) -> Iterator[StepReport]:
    """What precedes the steps where it has to be found out what runs models."""
    found = [name for name in undecided(project) if not declared_choice(project, name)]
    if asked := [name for name in found if name in names]:
        known = all(known_choice(project, name) for name in asked)
        yield StepReport(
            "choose",
            choosing_label(asked),
            asked[0] if len(asked) == 1 else "",
            "",
            known,
            "" if known else CACHE_OFF,
        )


def _report(step: PlannedStep, explained: Mapping[str, Explained]) -> StepReport:
    """What becomes of a planned step."""
    spec = json_of(step.text)
    own = spec.get("compile", spec)
    model = own.get("name" if step.step == "export" else "model", "")
    target = own.get("target", "")
    cached, why = False, _ALWAYS.get(step.step, "")
    if step.step == "engine":
        cached, why = _engine()
    elif step.step in {"compile", "tune"}:
        variant = explained[f"{method_label(model, own['method'])} for {target}"]
        cached, why = variant.cached, variant.why
        if step.step == "tune":
            cached = False
            why = variant.measured or f"it takes {variant.pinned}, which {FILE} pins"
    return StepReport(step.step, step.comment, model, target, cached, why)


def _engine() -> tuple[bool, str]:
    """Whether the cache has the engine, and why not."""
    if reason := unsupported():
        return False, f"it makes none: {reason}"
    store = Store(cache_settings(), Notes(None))
    if not store.on:
        return False, CACHE_OFF
    with tempfile.TemporaryDirectory(prefix="aotbuild-") as directory:
        key = engine_key(cross_architecture())
        if store.get(ENGINES, key, Path(directory)) is Found.HIT:
            return True, ""
    return False, "the cache has none of this aotbuild, compiler and Python"


def _notes(project: Project) -> Iterator[str]:
    """What may make a build run fewer steps."""
    directory = build_settings(project.pyproject, "wheel").build_dir
    if directory:
        yield (
            f"build-dir = {directory} keeps what steps made: a build there leaves out each step "
            "of which nothing has changed"
        )
