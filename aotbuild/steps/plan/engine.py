"""The step engine in the plan."""

from __future__ import annotations

from aotbuild.steps.artifacts.spec import EngineSpec
from aotbuild.steps.artifacts.stamps import ENGINE_COMPILED
from aotbuild.steps.plan.planned_step import PlannedStep, specification, tools
from aotbuild.target import cross_architecture

ENGINE_DIRECTORY = "engine"

ENGINE_OUTPUT = f"{ENGINE_DIRECTORY}/{ENGINE_COMPILED}"


def engine_step() -> PlannedStep:
    """The step that compiles the engine of the package."""
    spec = EngineSpec(output=ENGINE_DIRECTORY, architecture=cross_architecture(), tools=tools())
    file, text = specification("engine", spec)
    return PlannedStep("engine", "Building the engine", file, text, ENGINE_OUTPUT, [])
