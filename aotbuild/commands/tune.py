"""Tuning a project: measure its models, and write what is best into its lock file."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from aotbuild.config.messages import located
from aotbuild.config.project import Project, load_declared
from aotbuild.config.resolve import method_label
from aotbuild.hook.requirement import check_build_torch
from aotbuild.steps.plan.plan import (
    Command,
    check_options,
    declared_models,
    planned_commands,
    write_specs,
)
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
    lock = read_lock(project.root)
    commands = [
        command
        for command in planned_commands(_tuning(project, chosen), chosen, Lock())
        if command.step != "bundle"
    ]
    with tempfile.TemporaryDirectory(prefix="aotbuild-tune-") as name:
        build = Path(name)
        write_specs(build, commands)
        status = _run(commands, build)
        if status:
            return status
        outputs = [str(build / c.output) for c in commands if c.step in {"tune", "levels"}]
        found = collected(outputs)
    lock = lock.updated(found, project.models)
    if dry:
        print(lock_text(lock), end="")  # noqa: T201
    else:
        write_lock(project.root, lock)
        print("\n".join([*table(found), f"wrote {project.root / FILE}: commit it"]))  # noqa: T201
    return 0


def _tuning(project: Project, names: Iterable[str]) -> Project:
    """The project with tuning on for models that name no recipe, within the limits they have."""
    models = dict(project.models)
    for name in names:
        if not models[name].tune and not models[name].recipe:
            models[name] = dataclasses.replace(models[name], tune=True)
    return dataclasses.replace(project, models=models)


def _run(commands: Sequence[Command], build: Path) -> int:
    """Run commands one after another, so that nothing disturbs what is measured."""
    for number, command in enumerate(commands, 1):
        print(f"[{number}/{len(commands)}] {command.comment}", flush=True)  # noqa: T201
        line = [sys.executable, "-P", "-m", "aotbuild.steps", command.step, command.spec]
        done = subprocess.run(line, cwd=build, check=False)
        if done.returncode:
            return done.returncode
    return 0


def table(lock: Lock) -> list[str]:
    """Lines that tell all that was measured."""
    lines = []
    for model, methods in sorted(lock.choices.items()):
        for method, targets in sorted(methods.items()):
            name = method_label(model, method)
            for target, choice in sorted(targets.items()):
                lines.append(summary(name, target, choice))
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
