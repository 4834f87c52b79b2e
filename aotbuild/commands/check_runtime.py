"""What runs each model where the wheel is installed, as ``check`` finds it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aotbuild.config.messages import located
from aotbuild.config.resolve import call_path
from aotbuild.config.runtimes import Choice, declared_reason, undecided
from aotbuild.config.schema import AUTO, FORWARD, STANDALONE, TORCH
from aotbuild.hook.requirement import check_torch_requirement
from aotbuild.steps.choose.chosen import found_choice, known_choice
from aotbuild.torch_version import installed_range

if TYPE_CHECKING:
    from aotbuild.config.project import Project
    from aotbuild.steps.export.traced import TracedModel
    from aotbuild.steps.project_code import FileTracker


def check_declared_torch(project: Project) -> None:
    """Make sure that the wheel requires torch if the declaration alone tells that it must.

    Raises:
        RequirementError: It does not.
    """
    needed = any(
        model.runtime in {AUTO, TORCH} and declared_reason(model) is not None
        for model in project.models.values()
    )
    check_torch_requirement(project.pyproject, _range(project), needed=needed)


def _range(project: Project, choice: Choice | None = None) -> str:
    """The versions of torch that run a model, as far as they are known."""
    return installed_range(project.config.torch, choice.torch if choice else None)


def runtime_of(project: Project, name: str, model: TracedModel, read: FileTracker) -> Choice:
    """What runs a model; it is lowered, unless the last build did that.

    Args:
        project: The project.
        name: Name of the model.
        model: The model, traced.
        read: Knows the files that were read for it.

    Raises:
        CompileError: The model has to be stand-alone, and needs torch.
        RequirementError: It needs torch, and the wheel would not require that.
    """
    declared = project.models[name]
    if declared.runtime == TORCH and name not in undecided(project):
        return Choice(TORCH)
    choice = known_choice(project, name) or found_choice(project, name, model, read)
    if choice.reason and declared.runtime == STANDALONE:
        from aotbuild.steps.compile.only_torch import torch_needed

        raise torch_needed(located(call_path(name, FORWARD)), choice.reason)
    if choice.runtime == TORCH:
        check_torch_requirement(project.pyproject, _range(project, choice))
    return choice
