"""The step compile in the plan."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from aotbuild.config.parse import parse_table
from aotbuild.config.project import Project
from aotbuild.config.resolve import calls
from aotbuild.config.schema import TORCH
from aotbuild.steps.artifacts.spec import CompileSpec, Pinned, spec_text
from aotbuild.steps.plan.export import program_files
from aotbuild.steps.plan.planned_step import PlannedStep, specification
from aotbuild.steps.plan.tune import chosen_targets
from aotbuild.steps.plan.variant import PlannedVariant
from aotbuild.steps.tune.lock import Lock
from aotbuild.steps.tune.recipes import RECIPES


def compile_step(variant: PlannedVariant, spec: CompileSpec) -> PlannedStep:
    """The step that compiles a variant."""
    file, text = specification(f"{variant.directory}/compile", spec)
    return PlannedStep(
        "compile",
        f"Compiling {variant.label}",
        file,
        text,
        variant.compiled,
        [*program_files(variant.program), *filter(None, [variant.recipe])],
        target=variant.target.name,
    )


def compile_spec(variant: PlannedVariant, lock: Lock) -> CompileSpec:
    """The specification of a compile, with what is pinned for it."""
    model = variant.model
    dims = calls(model)[variant.method].dims
    return CompileSpec(
        **variant.common_fields,
        options=variant.settings.inductor,
        runtime=model.runtime or TORCH,
        swappable=bool(model.swappable),
        recipe=model.recipe or "",
        pinned=_pinned(variant, lock),
        tuned=variant.recipe,
        strict_dims=bool(model.strict_dims),
        chosen=[name for name, dim in dims.items() if dim.example is not None],
    )


def compile_specs(
    project: Project, name: str, lock: Lock, exported: Path | None = None
) -> list[CompileSpec]:
    """The specifications of all compiles of a model, for all of its methods and targets.

    Args:
        project: The project.
        name: Name of the model.
        lock: What is pinned.
        exported: Where the model was exported outside of a build, in which nothing is tuned.
    """
    model = project.models[name]
    specs = [
        _as_read(compile_spec(PlannedVariant(project, name, method, target), lock))
        for _ in model.devices or []
        for method in calls(model)
        for targets in chosen_targets(model, name, method, lock)
        for target in targets
    ]
    if exported is None:
        return specs
    return [
        dataclasses.replace(spec, tuned="", exported=str(exported / spec.method)) for spec in specs
    ]


def _as_read(spec: CompileSpec) -> CompileSpec:
    """A specification as its step reads it: keys of the cache are made of that."""
    return parse_table(CompileSpec, json.loads(spec_text(spec)), "compile.json")


def _pinned(variant: PlannedVariant, lock: Lock) -> Pinned | None:
    """What the lock file has for a variant, unless the settings leave it aside."""
    if variant.model.tune is False:
        return None
    choice = lock.choice(variant.name, variant.method, variant.target.name)
    if choice is None:
        return None
    measured = choice.candidates[choice.recipe]
    lossy = RECIPES[choice.recipe].precision
    return Pinned(
        recipe=choice.recipe,
        program=choice.program,
        settings=choice.settings,
        error=(measured.error or 0.0) if lossy else 0.0,
    )
