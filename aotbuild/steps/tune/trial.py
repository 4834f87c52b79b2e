"""Trials: candidates for the recipe of a method, compiled and verified before any is timed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aotbuild.progress.events import part
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.library import COMPUTED_WEIGHTS, LIBRARY, PROXY_NODES
from aotbuild.steps.artifacts.spec import TuneSpec, spec_text
from aotbuild.steps.tune.lock import Measured
from aotbuild.steps.tune.recipes import Recipe


@dataclass(frozen=True)
class Trials:
    """What came of compiling candidates."""

    passed: dict[str, Path] = field(default_factory=dict)
    """The directories of those that can be timed, by the names of their recipes."""
    failed: dict[str, Measured] = field(default_factory=dict)
    """Why the others cannot."""


def try_recipes(spec: TuneSpec, recipes: Sequence[Recipe], output: Path) -> Trials:
    """Compile and verify a method by each of these recipes.

    Args:
        spec: The specification of the step.
        recipes: The recipes, the usual one first.
        output: Directory in which each gets a directory of its own.
    """
    trials = Trials()
    codes: dict[str, str] = {}
    for number, recipe in enumerate(recipes, 1):
        part("recipe", number, len(recipes))
        directory = output / recipe.name
        failure = _compile_and_verify(spec, recipe, directory)
        same = "" if failure else codes.setdefault(_code(directory), recipe.name)
        if failure:
            trials.failed[recipe.name] = Measured(note=failure)
        elif same != recipe.name:
            trials.failed[recipe.name] = Measured(note=f"the same code as {same}")
        else:
            trials.passed[recipe.name] = directory
    _drop_other_sizes(trials)
    return trials


def _compile_and_verify(spec: TuneSpec, recipe: Recipe, directory: Path) -> str:
    """Run both steps for a candidate; why one failed, or an empty text."""
    directory.mkdir(parents=True, exist_ok=True)
    compiling = dataclasses.replace(
        spec.compile, recipe=recipe.name, pinned=None, tuned="", output=str(directory)
    )
    verifying = dataclasses.replace(
        spec.verify, compiled=str(directory), output=str(directory), require_verified=True
    )
    for step, step_spec in (("compile", compiling), ("verify", verifying)):
        file = directory / f"{step}.json"
        file.write_text(spec_text(step_spec), encoding="utf-8")
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
    parts = [match[1].strip() for match in (what, why) if match]
    return ": ".join(parts)[:200] or f"the step {step} failed"


def _code(directory: Path) -> str:
    """What two candidates have in common that are one."""
    digest = hashlib.sha256()
    record = dataclasses.asdict(BuildRecord.read(directory))
    del record["compiled"]
    digest.update(json.dumps(record, sort_keys=True).encode())
    for name in (LIBRARY, COMPUTED_WEIGHTS, PROXY_NODES):
        path = directory / name
        digest.update(path.read_bytes() if path.exists() else b"")
    return digest.hexdigest()


def _drop_other_sizes(trials: Trials) -> None:
    """Leave out what accepts other sizes than the first candidate, which is the usual one."""
    records = {name: BuildRecord.read(path) for name, path in trials.passed.items()}
    usual = next(iter(records.values()), None)
    for name, record in records.items():
        assert usual is not None  # noqa: S101  # there is one, then
        if record.dims != usual.dims or record.conditions != usual.conditions:
            trials.failed[name] = Measured(note="its code accepts other sizes")
            del trials.passed[name]
