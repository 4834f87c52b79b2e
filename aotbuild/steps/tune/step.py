"""Step tune: find by measuring which recipe makes a method the fastest on a target.

Where the lock file has a choice that fits, nothing is compiled or measured here. Else each
candidate is compiled and verified in a process of its own, since torch reads some options once in a
process; those that pass take turns on one thread, and the first one that no other clearly beats is
chosen.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from aotbuild.config.resolve import method_label
from aotbuild.runtime.engines import ENGINES, Run
from aotbuild.runtime.loader import load_variant
from aotbuild.runtime.state_dict import State
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.engine_library import use_engine
from aotbuild.steps.artifacts.facts import Facts
from aotbuild.steps.artifacts.samples import Samples
from aotbuild.steps.artifacts.spec import TuneSpec, read_spec
from aotbuild.steps.artifacts.tuning import write_tuned
from aotbuild.steps.artifacts.verification import read_report
from aotbuild.steps.files import scratch
from aotbuild.steps.package.parts import Part
from aotbuild.steps.package.write import write_package
from aotbuild.steps.project_code import importing
from aotbuild.steps.tune.lock import FILE, Choice, Lock, Measured, as_lock_table, cpu_name, summary
from aotbuild.steps.tune.pins import settings_of, why_unfit
from aotbuild.steps.tune.recipes import RECIPES, candidates, choose
from aotbuild.steps.tune.statistics import estimate, ratio
from aotbuild.steps.tune.timing import alone, repeatable, rounds
from aotbuild.steps.tune.trial import try_recipes
from aotbuild.target import TARGETS
from aotbuild.torch_output import quieten

_CLEARLY = 1.02
"""How many times as fast as an earlier recipe a later one has to be at least, with the whole 95%
interval of the ratio above one."""
_CLEARLY_LOSSY = 1.05
"""The same for one that loses accuracy."""


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``TuneSpec``."""
    spec = read_spec(TuneSpec, spec_file)
    output = Path(spec.output)
    decision = _decide(spec, output)
    sys.stdout.write(decision.message + "\n")
    lock = None
    if decision.measured:
        by_target = {spec.compile.target: decision.measured}
        choices = {spec.compile.model: {spec.compile.method: by_target}}
        lock = as_lock_table(Lock(choices=choices))
    write_tuned(output, decision.recipe, lock)


@dataclass(frozen=True)
class _Decision:
    recipe: str
    message: str
    """What the log says about it."""
    measured: Choice | None = None
    """What was measured, if anything was."""


def _decide(spec: TuneSpec, output: Path) -> _Decision:
    """The recipe that is pinned, that is measured, or that is usual, and why."""
    own = spec.compile
    facts = Facts.read(Path(own.exported))
    label, target = method_label(own.model, own.method), TARGETS[own.target]
    place = f"aotbuild: {label}: {target.name}"
    unfit = why_unfit(own, facts)
    if own.pinned and unfit is None:
        recipe = own.pinned.recipe
        return _Decision(recipe, f"{place} by the recipe {recipe}, pinned in {FILE}")
    usual = choose(facts).name
    if target.cross:
        return _Decision(
            usual,
            f"{place} is not tuned here, on a machine of another architecture; compiled by the "
            f"recipe {usual}",
        )
    if missing := ENGINES[target.device].missing(list(target.requires)):
        return _Decision(
            usual,
            f"{place} is not tuned here, as this machine's CPU lacks {', '.join(missing)}; "
            f"compiled by the recipe {usual}",
        )
    again = f"{place} is tuned anew: {unfit}\n" if unfit else ""
    choice = _measure(spec, facts, output)
    if choice is None:  # compiling by the usual one tells why
        return _Decision(usual, f"{again}{place} cannot be tuned: every recipe fails")
    return _Decision(choice.recipe, again + summary(label, target.name, choice), choice)


def _measure(spec: TuneSpec, facts: Facts, output: Path) -> Choice | None:
    """Compile, verify and time all candidates; None where none passes."""
    quieten()
    own = spec.compile
    level = TARGETS[own.target].level
    possible = candidates(
        facts, level, own.options, keep_parameters=own.swappable, allowed=own.allowed
    )
    call = CallSpec.read(Path(own.exported))
    try:
        trials = try_recipes(spec, possible, output)
        if not trials.passed:
            return None
        winner, timed = _timed(spec, trials.passed, call)
    finally:
        for recipe in possible:
            shutil.rmtree(output / recipe.name, ignore_errors=True)
    measured = {**trials.failed, **timed}
    return Choice(
        recipe=winner,
        program=facts.program,
        settings=settings_of(own),
        sizes=call.example,
        cpu=cpu_name(),
        torch=own.tools.torch,
        aotbuild=own.tools.aotbuild,
        candidates={recipe.name: measured[recipe.name] for recipe in possible},
    )


def _timed(
    spec: TuneSpec, passed: Mapping[str, Path], call: CallSpec
) -> tuple[str, dict[str, Measured]]:
    """Time candidates; the winner, and how each did."""
    own = spec.compile
    samples = Samples.read(Path(own.exported))
    tensors = samples.at(call.inputs, _sizes(passed, call), torch.device("cpu"))
    with (
        importing(own.import_paths, own.package),
        scratch(Path(spec.output).resolve()) as directory,
    ):
        arms = {
            name: _opened(spec, directory / name, path, first=not i)
            for i, (name, path) in enumerate(passed.items())
        }
        with alone():
            again = {n: repeatable(run, tensors, call.changed) for n, run in arms.items()}
            times = rounds(again, tensors)
    winner = best(times, {name for name in passed if RECIPES[name].precision})
    return winner, {
        name: _measured(seconds, times[winner], passed[name]) for name, seconds in times.items()
    }


def _measured(seconds: Sequence[float], fastest: Sequence[float], directory: Path) -> Measured:
    """How a candidate did beside the winner."""
    compared = ratio(seconds, fastest)
    return Measured(
        microseconds=estimate(seconds).median * 1e6,
        ratio=compared.median,
        interval=[compared.low, compared.high],
        error=read_report(directory)["relative-error"],
    )


def _sizes(passed: Mapping[str, Path], call: CallSpec) -> dict[str, int]:
    """The sizes of the example, or those that the code was lowered for where it excludes them."""
    record = BuildRecord.read(next(iter(passed.values())))
    inside = all(
        dim.min <= call.example[name] and (dim.max is None or call.example[name] <= dim.max)
        for name, dim in record.dims.items()
    )
    return call.example if inside else record.example


def best(times: Mapping[str, Sequence[float]], lossy: set[str]) -> str:
    """The first arm that no later one clearly beats.

    Args:
        times: Seconds of each round by arm; those that are preferred come first.
        lossy: The arms that lose accuracy, which have to gain more.
    """
    winner, *others = times
    for name in others:
        gain = ratio(times[winner], times[name])
        needed = _CLEARLY_LOSSY if name in lossy and winner not in lossy else _CLEARLY
        if gain.low > 1 and gain.median >= needed:
            winner = name
    return winner


def _opened(spec: TuneSpec, package: Path, compiled: Path, *, first: bool) -> Run:
    """What runs a candidate."""
    own = spec.compile
    part = Part(own.model, own.method, spec.source, Path(own.exported), [(compiled, None)])
    (manifest,) = write_package(package, [part], Path(own.project), Path(spec.verify.engine))
    use_engine(Path(spec.verify.engine))
    if not first:  # operators are registered once in a process
        manifest = dataclasses.replace(manifest, op_libraries=[])
    state = State(package, manifest)
    return load_variant(package, manifest, manifest.variants[0], "cpu", state).run
