"""The step bundle in the plan, and where the weights go."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from aotbuild.config.companion import companion
from aotbuild.config.project import Project
from aotbuild.steps.artifacts.spec import BundleSpec, MethodParts, SeparateWeights
from aotbuild.steps.artifacts.stamps import BUNDLED
from aotbuild.steps.plan.engine import ENGINE_DIRECTORY
from aotbuild.steps.plan.packaged import packaged_checkpoints
from aotbuild.steps.plan.planned_step import PlannedStep, specification, tools

PACKAGE_DIRECTORY = "package"

METADATA_DIRECTORY = "metadata"

_OUT_VARIABLE = "AOTBUILD_WEIGHTS_OUT"


def bundle_step(
    project: Project,
    parts: Sequence[MethodParts],
    steps: Sequence[PlannedStep],
    required: str = "",
    version: str = "",
    develop: str = "",
) -> PlannedStep:
    """The step that makes the package.

    Args:
        project: The project.
        parts: The methods of its models.
        steps: All other steps.
        required: The versions of torch that the wheel requires, as far as they are known.
        version: The version of the project, where pyproject.toml need not have it.
        develop: ``eager`` or ``compiled`` for what ``aotbuild develop`` installs.
    """
    apart = None if develop else weights_apart(project)
    spec = BundleSpec(
        apart=apart,
        package=project.package,
        project=str(project.root),
        name=project.name,
        version=version or _stated(project, "version"),
        license=_stated(project, "license"),
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
        commands={step.spec: step.comment for step in steps},
        output=PACKAGE_DIRECTORY,
        metadata=METADATA_DIRECTORY,
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


def _stated(project: Project, key: str) -> str:
    """What ``[project]`` says in a line; empty where it says nothing, or names a file."""
    table = project.pyproject.get("project")
    value = table.get(key, "") if isinstance(table, dict) else ""
    text = str(value.get("text", "") if isinstance(value, dict) else value).strip()
    return "" if "\n" in text else text


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
