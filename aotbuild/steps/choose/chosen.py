"""What runs models that leave that to the build: remembered, or found out."""

from __future__ import annotations

from collections.abc import Iterable

from aotbuild.config.project import Project
from aotbuild.config.runtimes import Choice, declared_choice
from aotbuild.steps.choose.memory import remember, remembered
from aotbuild.steps.plan.export import export_spec
from aotbuild.torch_output import quieten, quieten_torch


def choices_of(project: Project, names: Iterable[str]) -> dict[str, Choice]:
    """What runs models that leave that to the build, and why.

    Args:
        project: The project.
        names: The models.

    Raises:
        AotBuildError: One cannot be traced or lowered.
    """
    return {
        name: declared_choice(project.models[name])
        or remembered(project, name)
        or _found_out(project, name)
        for name in names
    }


def _found_out(project: Project, name: str) -> Choice:
    """Trace and lower a model, and remember what came of it."""
    quieten()
    from aotbuild.steps.choose.lowered import choose  # imports torch, which takes a second
    from aotbuild.steps.export.trace import trace
    from aotbuild.steps.project_code import FileTracker

    quieten_torch()
    tracker = FileTracker(project.root)
    device = (project.models[name].devices or [])[0]
    choice = choose(project, name, trace(export_spec(project, name, device, output="")))
    remember(project, name, choice, tracker.files())
    return choice
