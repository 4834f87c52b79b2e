"""What runs the models of a project where it is installed, for all that the declaration tells."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aotbuild.config.check_runtime import torch_key
from aotbuild.config.messages import located
from aotbuild.config.project import Project
from aotbuild.config.resolve import call_path
from aotbuild.config.schema import AUTO, FORWARD, STANDALONE, TORCH, Model, Runtime
from aotbuild.errors import ConfigError
from aotbuild.target import TARGET_VARIABLE, cross_architecture
from aotbuild.torch_version import COMPATIBLE, OF_OP_LIBRARIES, TorchNeed


@dataclass(frozen=True)
class Choice:
    """What runs a model."""

    runtime: str
    reason: str = ""
    """What needs torch, a line each; empty for a model that needs none."""
    torch: TorchNeed | None = None
    """Which versions of torch run it; None where none does, or the declaration tells it."""

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Choice:
        """Read what ``dataclasses.asdict`` made of a choice."""
        need = table["torch"]
        return cls(table["runtime"], table["reason"], TorchNeed(**need) if need else None)

    def lines(self, name: str) -> list[str]:
        """What a build and ``check`` tell of a model that needs torch."""
        lines = []
        if self.reason:
            why = "; ".join(self.reason.splitlines())
            lines.append(f"{name} needs torch at run time: {why}")
        if self.torch and self.torch.bound:
            lines.append(f"{name} needs the build's minor version of torch: {self.torch.bound}")
        return lines


def undecided(project: Project) -> list[str]:
    """The models of which the build finds out what runs them, or which versions of torch do."""
    asked = {AUTO, TORCH} if project.config.torch == COMPATIBLE else {AUTO}
    return [name for name, model in project.models.items() if model.runtime in asked]


def automatic(project: Project) -> list[str]:
    """The models that leave to the build what runs them."""
    return [name for name, model in project.models.items() if model.runtime == AUTO]


def declared_choice(project: Project, name: str) -> Choice | None:
    """What runs a model for all that is declared; None where its code has to be looked through.

    Args:
        project: The project.
        name: Name of the model.
    """
    model = project.models[name]
    reason = declared_reason(model)
    if reason is None:
        return None
    if project.config.torch != COMPATIBLE:
        return Choice(TORCH, reason)
    bound = ""
    if sys.platform != "linux":
        bound = "only libraries for Linux are looked through"
    elif model.op_libraries:
        bound = OF_OP_LIBRARIES
    return Choice(TORCH, reason, TorchNeed("0", bound)) if bound else None


def joined_need(choices: Iterable[Choice]) -> TorchNeed | None:
    """The versions of torch that run all models that need torch; None where that is not known."""
    needs = [choice.torch for choice in choices if choice.runtime == TORCH]
    known = [need for need in needs if need]
    if not known or len(known) < len(needs):
        return None
    return functools.reduce(TorchNeed.joined, known)


def declared_reason(model: Model) -> str | None:
    """Why a model needs torch for all that is declared; None where that does not tell.

    Args:
        model: The model, with every setting in place. Where it says so itself there is no reason
            to tell.
    """
    if model.runtime == TORCH:
        return ""
    if sys.platform != "linux":
        return "stand-alone libraries are only made on Linux"
    found = torch_key(model)
    return f"it is declared with {found.given}" if found else None


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
