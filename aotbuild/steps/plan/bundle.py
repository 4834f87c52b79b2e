"""The step bundle in the plan, and where the weights go."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from aotbuild.config.companion import companion
from aotbuild.config.project import Project
from aotbuild.config.schema import TORCH
from aotbuild.steps.artifacts.spec import BundleSpec, MethodParts, SeparateWeights
from aotbuild.steps.artifacts.stamps import BUNDLED
from aotbuild.steps.plan.engine import ENGINE_DIRECTORY
from aotbuild.steps.plan.packaged import packaged_checkpoints
from aotbuild.steps.plan.planned_step import PlannedStep, specification, tools

PACKAGE_DIRECTORY = "package"

_OUT_VARIABLE = "AOTBUILD_WEIGHTS_OUT"


def bundle_step(
    project: Project,
    parts: Sequence[MethodParts],
    steps: Sequence[PlannedStep],
    required: str = "",
    develop: str = "",
) -> PlannedStep:
    """The step that makes the package.

    Args:
        project: The project.
        parts: The methods of its models.
        steps: All other steps.
        required: The versions of torch that the wheel requires, as far as they are known.
        develop: ``eager`` or ``compiled`` for what ``aotbuild develop`` installs.
    """
    apart = weights_apart(project)
    spec = BundleSpec(
        apart=apart,
        package=project.package,
        project=str(project.root),
        version=_version(project),
        parts=list(parts),
        engine=ENGINE_DIRECTORY,
        tuned=[
            step.output
            for step in steps
            if step.step in {"tune", "levels"} and project.models[step.model].tune
        ],
        torch=project.config.torch,
        required=required,
        size_limit=project.config.size_limit,
        checkpoints=packaged_checkpoints(project),
        develop=develop,
        output=PACKAGE_DIRECTORY,
        tools=tools(),
    )
    file, text = specification("bundle", spec)
    return PlannedStep(
        "bundle",
        f"Bundling {project.package}",
        file,
        text,
        BUNDLED,
        [step.output for step in steps],
        others=[apart.file] if apart else [],
    )


def _version(project: Project) -> str:
    """The version of a project, which CMake is told of stand-alone models; empty if not known."""
    if all(model.runtime == TORCH for model in project.models.values()):
        return ""
    table = project.pyproject.get("project")
    return str(table.get("version", "")) if isinstance(table, dict) else ""


def weights_apart(project: Project) -> SeparateWeights | None:
    """Where the weights go if not into the package.

    Raises:
        ConfigError: The version of their wheel is not known.
    """
    if project.config.weights_in == "wheel":
        return None
    out = project.root / (os.environ.get(_OUT_VARIABLE) or project.config.weights_out)
    requirement = companion(project.config, project.pyproject)
    apart = SeparateWeights(package=project.package, file="", requirement=requirement)
    name = f"{project.package}.safetensors"
    if requirement:
        name = f"{apart.module}-{requirement.partition('==')[2]}-py3-none-any.whl"
    return dataclasses.replace(apart, file=str(out / name))
