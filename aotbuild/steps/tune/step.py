"""Step tune: find by measuring which recipe makes a method the fastest on a target.

Where the lock file has a choice that fits, nothing is compiled or measured here. Else each
candidate is compiled and verified in a process of its own, since torch reads some options once in a
process; those that pass take turns on one thread, and the first one that no other clearly beats is
chosen.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from aotbuild.errors import quieten
from aotbuild.runtime.engines import ENGINES, Run
from aotbuild.runtime.loader import load_variant
from aotbuild.runtime.state import State
from aotbuild.steps.artifacts.build_record import RECORD, BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.facts import Facts
from aotbuild.steps.artifacts.samples import Samples
from aotbuild.steps.artifacts.spec import CALL, WEIGHTS, CompileSpec, TuneSpec, read_spec, spec_text
from aotbuild.steps.export.source import importing
from aotbuild.steps.files import scratch, write_depfile, write_if_changed, write_text
from aotbuild.steps.package.write import Part, write_package
from aotbuild.steps.tune.lock import FILE, Choice, Lock, Measured, as_lock_table, cpu_name, summary
from aotbuild.steps.tune.pins import settings_of, told, why_unfit
from aotbuild.steps.tune.recipes import RECIPES, Recipe, candidates, choose
from aotbuild.steps.tune.statistics import estimate, ratio
from aotbuild.steps.tune.timing import alone, rounds
from aotbuild.target import TARGETS

_CLEARLY = 1.02
"""How many times as fast as an earlier recipe a later one has to be at least, with the whole 95%
interval of the ratio above one."""
_CLEARLY_LOSSY = 1.05
"""The same for one that loses accuracy."""


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``TuneSpec``."""
    spec = read_spec(TuneSpec, spec_file)
    output = Path(spec.output)
    facts = Facts.read(Path(spec.compile.exported))
    target = TARGETS[spec.compile.target]
    name = told(spec.compile)
    unfit = why_unfit(spec.compile, facts)
    choice = None
    if spec.compile.pinned and unfit is None:
        recipe = spec.compile.pinned.recipe
        said = f"aotbuild: {name}: {target.name} by the recipe {recipe}, pinned in {FILE}"
    elif missing := ENGINES[target.device].missing(list(target.requires)):
        recipe = choose(facts).name
        said = (
            f"aotbuild: {name}: {target.name} is not tuned here, as this machine's CPU lacks "
            f"{', '.join(missing)}; compiled by the recipe {recipe}"
        )
    else:
        choice = _tuned(spec, facts, output)
        # Where all fail, compiling by the usual one tells why.
        recipe = choice.recipe if choice else choose(facts).name
        said = (
            summary(name, target.name, choice)
            if choice
            else f"aotbuild: {name}: {target.name} cannot be tuned: every recipe fails"
        )
        if unfit:
            said = f"aotbuild: {name}: {target.name} is tuned anew: {unfit}\n{said}"
    sys.stdout.write(said + "\n")
    # A recipe that stays leaves what was compiled by it.
    write_if_changed(output / "recipe.json", json.dumps({"recipe": recipe}) + "\n")
    table: dict[str, Any] = {"recipe": recipe}
    if choice:
        found = {spec.compile.model: {spec.compile.method: {target.name: choice}}}
        table["lock"] = as_lock_table(Lock(choices=found))
    write_depfile(output / "tuned.json", [])
    write_text(output / "tuned.json", json.dumps(table, indent=1) + "\n")


def _tuned(spec: TuneSpec, facts: Facts, output: Path) -> Choice | None:
    """Compile, verify and time all candidates; None where none passes."""
    quieten()
    own = spec.compile
    level = TARGETS[own.target].level
    possible = candidates(
        facts, level, own.options, keep_parameters=own.swappable, allowed=own.allowed
    )
    measured: dict[str, Measured] = {}
    made: dict[str, Path] = {}
    seen: dict[str, str] = {}
    try:
        for recipe in possible:
            directory = output / recipe.name
            failure = _make(spec, recipe, directory)
            same = "" if failure else seen.setdefault(_code(directory), recipe.name)
            if failure:
                measured[recipe.name] = Measured(note=failure)
            elif same != recipe.name:
                measured[recipe.name] = Measured(note=f"the same code as {same}")
            else:
                made[recipe.name] = directory
        _drop_narrower(made, measured)
        call = CallSpec.read(Path(own.exported) / CALL)
        if not made:
            return None
        winner, timed = _timed(spec, made, call)
        measured |= timed
    finally:
        for recipe in possible:
            shutil.rmtree(output / recipe.name, ignore_errors=True)
    order = {recipe.name: measured[recipe.name] for recipe in possible}
    return Choice(
        recipe=winner,
        program=facts.program,
        settings=settings_of(own),
        sizes=call.example,
        cpu=cpu_name(),
        torch=own.tools.torch,
        aotbuild=own.tools.aotbuild,
        candidates=order,
    )


def _make(spec: TuneSpec, recipe: Recipe, directory: Path) -> str:
    """Compile and verify a candidate; why it is none, or an empty text."""
    directory.mkdir(parents=True, exist_ok=True)
    compiling: CompileSpec = dataclasses.replace(
        spec.compile, recipe=recipe.name, pinned=None, tuned="", output=str(directory)
    )
    verifying = dataclasses.replace(
        spec.verify, compiled=str(directory), output=str(directory), require_verified=True
    )
    for step, own in (("compile", compiling), ("verify", verifying)):
        file = directory / f"{step}.json"
        file.write_text(spec_text(own), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "aotbuild.steps", step, str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return _reason(done.stdout + done.stderr, step)
    return ""


def _reason(output: str, step: str) -> str:
    """The first line of an error block and the reason in it, short."""
    what = re.search(r"^aotbuild: error: (.*)$", output, re.MULTILINE)
    why = re.search(r"^  why: +(.*)$", output, re.MULTILINE)
    found = [match[1].strip() for match in (what, why) if match]
    return ": ".join(found)[:200] or f"the step {step} failed"


def _code(directory: Path) -> str:
    """What two candidates have in common that are one."""
    digest = hashlib.sha256()
    record = dataclasses.asdict(BuildRecord.read(directory / RECORD))
    del record["compiled"]
    digest.update(json.dumps(record, sort_keys=True).encode())
    for name in ("library.so", WEIGHTS, "library.json"):
        path = directory / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def _drop_narrower(made: dict[str, Path], measured: dict[str, Measured]) -> None:
    """Leave out what accepts other sizes than the first candidate, which is the usual one."""
    records = {name: BuildRecord.read(path / RECORD) for name, path in made.items()}
    usual = next(iter(records.values()), None)
    for name, record in records.items():
        assert usual is not None  # noqa: S101  # there is one, then
        if record.dims != usual.dims or record.conditions != usual.conditions:
            measured[name] = Measured(note="its code accepts other sizes")
            del made[name]


def _timed(
    spec: TuneSpec, made: Mapping[str, Path], call: CallSpec
) -> tuple[str, dict[str, Measured]]:
    """Time candidates; the winner, and how each did."""
    own = spec.compile
    samples = Samples.read(Path(own.exported) / "samples.pt")
    sizes = _sizes(made, call)
    tensors = samples.at(call.inputs, sizes, torch.device("cpu"))
    with (
        importing(own.import_paths, own.package),
        scratch(Path(spec.output).resolve()) as directory,
    ):
        arms = {
            name: _opened(spec, directory / name, path, first=not i)
            for i, (name, path) in enumerate(made.items())
        }
        with alone():
            times = rounds(arms, tensors)
    winner = best(times, {name for name in made if RECIPES[name].precision})
    found = {}
    for name, seconds in times.items():
        told_ratio = ratio(seconds, times[winner])
        report = json.loads((made[name] / "verified.json").read_text(encoding="utf-8"))
        found[name] = Measured(
            microseconds=estimate(seconds).median * 1e6,
            ratio=told_ratio.median,
            interval=[told_ratio.low, told_ratio.high],
            error=report["relative-error"],
        )
    return winner, found


def _sizes(made: Mapping[str, Path], call: CallSpec) -> dict[str, int]:
    """The sizes of the example, or those that the code was lowered for where it excludes them."""
    record = BuildRecord.read(next(iter(made.values())) / RECORD)
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
    if not first:  # operators are registered once in a process
        manifest = dataclasses.replace(manifest, op_libraries=[])
    state = State(package, manifest)
    return load_variant(package, manifest, manifest.variants[0], "cpu", state).run
