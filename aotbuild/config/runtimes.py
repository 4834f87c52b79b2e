"""What runs the models of a project where it is installed, for all that the declaration tells."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from aotbuild.config.check_runtime import torch_key
from aotbuild.config.messages import located
from aotbuild.config.project import Project
from aotbuild.config.resolve import call_path
from aotbuild.config.schema import AUTO, FORWARD, STANDALONE, TORCH, Model, Runtime
from aotbuild.errors import ConfigError
from aotbuild.target import TARGET_VARIABLE, cross_architecture


@dataclass(frozen=True)
class Choice:
    """What runs a model."""

    runtime: str
    reason: str = ""
    """What needs torch, a line each; empty for a model that needs none."""

    def line(self, name: str) -> str:
        """What a build and ``check`` tell of a model that needs torch."""
        return f"{name} needs torch at run time: {'; '.join(self.reason.splitlines())}"


def undecided(project: Project) -> list[str]:
    """The models that leave to the build what runs them."""
    return [name for name, model in project.models.items() if model.runtime == AUTO]


def declared_choice(model: Model) -> Choice | None:
    """What runs a model for all that its declaration says; None where that does not tell."""
    if sys.platform != "linux":
        return Choice(TORCH, "stand-alone libraries are only made on Linux")
    found = torch_key(model)
    return Choice(TORCH, f"it is declared with {found.given}") if found else None


def torch_models(project: Project) -> dict[str, Choice]:
    """The models that are declared to be run by torch."""
    return {
        name: Choice(TORCH, f'runtime = "{TORCH}"')
        for name, model in project.models.items()
        if model.runtime == TORCH
    }


def check_cross_compiled(choices: Mapping[str, Choice]) -> None:
    """Refuse models that need torch in a build for another architecture.

    Args:
        choices: What runs the models, by their names.

    Raises:
        ConfigError: A model needs torch.
    """
    cross = cross_architecture()
    for name, choice in choices.items() if cross else ():
        if choice.runtime == TORCH:
            raise ConfigError(
                f"{name} cannot be compiled for {cross} on this machine: it needs torch",
                where=f"{located(call_path(name, FORWARD))}\nenvironment: {TARGET_VARIABLE}",
                why=f"{choice.reason}\nonly stand-alone libraries can be linked and run without "
                f"the torch of a machine with {cross}",
                fix=f"build on {cross} without {TARGET_VARIABLE}, or change what needs torch",
            )


def with_runtimes(project: Project, runtimes: Mapping[str, str]) -> Project:
    """The project with a runtime in place for each of these models."""
    models = dict(project.models)
    for name, runtime in runtimes.items():
        chosen: Runtime = STANDALONE if runtime == STANDALONE else TORCH
        models[name] = dataclasses.replace(models[name], runtime=chosen)
    return dataclasses.replace(project, models=models)


def needs_torch(project: Project) -> bool:
    """Whether a model is known to need torch where the wheel is installed."""
    return any(model.runtime == TORCH for model in project.models.values())
