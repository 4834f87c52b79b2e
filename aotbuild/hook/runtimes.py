"""What runs the models of the wheel that this process builds, or whose metadata it writes.

scikit-build-core asks first for its settings, then for the metadata, which has to agree.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aotbuild.config.develop import with_eager
from aotbuild.config.project import Project
from aotbuild.config.runtimes import (
    Choice,
    check_cross_compiled,
    declared_choice,
    joined_need,
    torch_models,
    undecided,
    with_runtimes,
)
from aotbuild.config.schema import TORCH
from aotbuild.progress.events import told
from aotbuild.torch_version import installed_range

_DEFINED = "AOTBUILD_RUNTIMES"
"""The variable of CMake by which the plan learns it."""

_RANGE = "AOTBUILD_TORCH"
"""The variable by which it learns which versions of torch the wheel requires."""

_known: dict[Path, dict[str, Choice]] = {}
"""What the settings were made with, by the directory of the project."""


def chosen_for(project: Project, state: str) -> Project:
    """The project with a runtime for each model; that of an sdist needs none.

    Args:
        project: The project.
        state: The hook that runs.

    Raises:
        ConfigError: A model needs torch, in a build for another architecture.
        SystemExit: A model cannot be traced or lowered; the reason has been printed.
    """
    _known[project.root] = {}
    if state == "sdist":
        return project
    check_cross_compiled(torch_models(project))
    if not (names := undecided(project)):
        return project
    choices = {name: choice for name in names if (choice := declared_choice(project, name))}
    if unknown := [name for name in names if name not in choices]:
        choices |= _found_out(project, unknown)
    check_cross_compiled(choices)
    _known[project.root] = choices
    if state in {"wheel", "editable"}:
        for name, choice in choices.items():
            sys.stdout.writelines(f"aotbuild: {line}\n" for line in choice.lines(name))
        sys.stdout.flush()
    return with_runtimes(project, _runtimes(choices))


def eager_for(project: Project) -> Project:
    """The project with models that eager torch runs, as ``aotbuild develop`` installs them."""
    _known[project.root] = {name: Choice(TORCH) for name in project.models}
    return with_eager(project)


def known_for(project: Project) -> Project:
    """The project as :func:`chosen_for` gave it, which is asked where it was not."""
    if project.root not in _known:
        return chosen_for(project, "metadata_wheel")
    return with_runtimes(project, _runtimes(_known[project.root]))


def _runtimes(choices: Mapping[str, Choice]) -> dict[str, str]:
    return {name: choice.runtime for name, choice in choices.items()}


def required_torch(project: Project) -> str:
    """The versions of torch that a wheel of the project requires, if it requires torch.

    Args:
        project: The project, as :func:`chosen_for` or :func:`known_for` gave it.

    Returns:
        Such as ``>=2.13``; empty where no torch is installed.
    """
    choices = _known.get(project.root, {}).values()
    return installed_range(project.config.torch, joined_need(choices))


def defined(project: Project) -> dict[str, str]:
    """What CMake is told of it."""
    choices = _known.get(project.root)
    if not choices:
        return {}
    runtimes = ",".join(f"{name}={runtime}" for name, runtime in _runtimes(choices).items())
    return {_DEFINED: runtimes, _RANGE: required_torch(project)}


def choosing_label(names: Sequence[str]) -> str:
    """What the log of a build calls finding out what runs models."""
    return f"Finding out what runs {', '.join(names)}"


def _found_out(project: Project, names: Sequence[str]) -> dict[str, Choice]:
    """Ask the build side, in a process that may import torch."""
    with (
        told("choose", choosing_label(names)),
        tempfile.TemporaryDirectory(prefix="aotbuild-") as directory,
    ):
        output = Path(directory, "choices.json")
        command = [sys.executable, "-P", "-m", "aotbuild.steps.choose", str(project.root)]
        if subprocess.run([*command, str(output), *names], cwd=directory, check=False).returncode:
            raise SystemExit(1)
        found = json.loads(output.read_text("utf-8"))
    return {name: Choice.from_table(choice) for name, choice in found.items()}
