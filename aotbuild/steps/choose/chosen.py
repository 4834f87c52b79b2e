"""What runs models that leave that to the build: remembered, or found out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from aotbuild.config.project import Project
from aotbuild.config.runtimes import (
    Choice,
    automatic,
    check_cross_compiled,
    declared_choice,
    torch_models,
    with_runtimes,
)
from aotbuild.steps.choose.memory import remember, remembered
from aotbuild.steps.plan.export import export_spec
from aotbuild.steps.torch_parts.moved import check_parts
from aotbuild.steps.torch_parts.part import COMPILE, EXPORT
from aotbuild.torch_output import quieten, quieten_torch

if TYPE_CHECKING:
    from aotbuild.steps.export.traced import TracedModel
    from aotbuild.steps.project_code import FileTracker


def with_choices(project: Project, names: Collection[str]) -> Project:
    """The project with a runtime for each of these models that leaves that to the build.

    Raises:
        AotBuildError: One cannot be traced or lowered, or needs torch in a build for another
            architecture.
    """
    declared = {name: found for name, found in torch_models(project).items() if name in names}
    choices = choices_of(project, [name for name in automatic(project) if name in names])
    check_cross_compiled({**declared, **choices})
    return with_runtimes(project, {name: choice.runtime for name, choice in choices.items()})


def choices_of(project: Project, names: Iterable[str]) -> dict[str, Choice]:
    """What runs models that leave that to the build, and why.

    Args:
        project: The project.
        names: The models.

    Raises:
        AotBuildError: One cannot be traced or lowered.
    """
    return {name: known_choice(project, name) or _traced_choice(project, name) for name in names}


def known_choice(project: Project, name: str) -> Choice | None:
    """What runs a model, without tracing it; None where that has to be found out."""
    return declared_choice(project, name) or remembered(project, name)


def found_choice(project: Project, name: str, model: TracedModel, read: FileTracker) -> Choice:
    """Lower a model, and remember what came of it.

    Args:
        project: The project.
        name: Name of the model.
        model: The model, traced.
        read: Knows the files that were read for it.

    Raises:
        AotBuildError: It cannot be lowered.
    """
    check_parts(COMPILE)
    from aotbuild.steps.choose.lowered import choose  # imports torch, which takes a second

    choice = choose(project, name, model)
    remember(project, name, choice, read.files())
    return choice


def _traced_choice(project: Project, name: str) -> Choice:
    quieten()
    check_parts(EXPORT)
    from aotbuild.steps.export.trace import trace
    from aotbuild.steps.project_code import FileTracker

    quieten_torch()
    tracker = FileTracker(project.root)
    device = (project.models[name].devices or [])[0]
    spec = export_spec(project, name, device, output="")
    return found_choice(project, name, trace(spec), tracker)
