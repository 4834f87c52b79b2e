"""Tuning a project: measure its models, and write what is best into its lock file."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from aotbuild.commands.live import live
from aotbuild.config.messages import located
from aotbuild.config.project import Project, load_declared
from aotbuild.config.resolve import method_label
from aotbuild.hook.requirement import check_build_torch
from aotbuild.progress.events import Planned, tell
from aotbuild.steps.choose.chosen import with_choices
from aotbuild.steps.plan.options import check_options
from aotbuild.steps.plan.plan import declared_models, planned_steps, write_specs
from aotbuild.steps.plan.planned_step import PlannedStep
from aotbuild.steps.tune.lock import (
    FILE,
    Lock,
    collected,
    lock_text,
    read_lock,
    summary,
    timed,
    write_lock,
)


def tune_project(directory: Path, names: Sequence[str], *, dry: bool = False) -> int:
    """Measure the models of a project, and write its lock file.

    Args:
        directory: Directory of the pyproject.toml.
        names: The models; all of them when empty.
        dry: Whether the lock file is printed in place of being written.

    Returns:
        0, or the exit code of a step that failed; why has been printed then.

    Raises:
        AotBuildError: The declaration or the lock file is wrong.
    """
    project = load_declared(directory)
    check_build_torch(project.pyproject)
    chosen = declared_models(project, names, where=located("tool.aotbuild.models"))
    check_options(project, chosen)
    project = with_choices(project, chosen)
    lock = read_lock(project.root)
    steps = [
        step
        for step in planned_steps(_tuning(project, chosen), chosen, Lock())
        if step.step != "bundle"
    ]
    with tempfile.TemporaryDirectory(prefix="aotbuild-tune-") as name:
        build = Path(name)
        write_specs(build, steps)
        status = _run(project, steps, build)
        if status:
            return status
        outputs = [str(build / each.output) for each in steps if each.step in {"tune", "levels"}]
        measured = collected(outputs)
    lock = lock.updated(measured, project.models)
    if dry:
        print(lock_text(lock), end="")  # noqa: T201
    else:
        write_lock(project.root, lock)
        print("\n".join([*table(measured), f"wrote {project.root / FILE}: commit it"]))  # noqa: T201
    return 0


def _tuning(project: Project, names: Iterable[str]) -> Project:
    """The project with tuning on for models that name no recipe, within the limits they have."""
    models = dict(project.models)
    for name in names:
        if not models[name].tune and not models[name].recipe:
            models[name] = dataclasses.replace(models[name], tune=True)
    return dataclasses.replace(project, models=models)


def _run(project: Project, steps: Sequence[PlannedStep], build: Path) -> int:
    """Run steps one after another, so that nothing disturbs what is measured."""
    with live(project.package) as shown:
        tell(Planned([step.comment for step in steps], 1))
        for step in steps:
            command = [sys.executable, "-P", "-m", "aotbuild.steps", step.step, step.spec]
            done = subprocess.run(
                [*command, step.comment], cwd=build, check=False, capture_output=True, text=True
            )
            if done.stdout.strip():
                shown.say(done.stdout.rstrip("\n"))
            print(done.stderr, end="", file=sys.stderr)  # noqa: T201
            if done.returncode:
                return done.returncode
    return 0


def table(lock: Lock) -> list[str]:
    """Lines with all that was measured."""
    lines = []
    for model, methods in sorted(lock.choices.items()):
        for method, targets in sorted(methods.items()):
            label = method_label(model, method)
            for target, choice in sorted(targets.items()):
                lines.append(summary(label, target, choice))
                fast = timed(choice)
                rest = {k: v for k, v in choice.candidates.items() if k not in fast}
                for recipe, each in {**fast, **rest}.items():
                    if each.microseconds is None:
                        lines.append(f"  {recipe:<18} {each.note}")
                        continue
                    low, high = each.interval or [0.0, 0.0]
                    lines.append(
                        f"  {recipe:<18} {each.microseconds:10.4g} us  "
                        f"{each.ratio or 0:5.3f} [{low:.3f}, {high:.3f}]  error {each.error:.2g}"
                    )
    return lines
