"""The steps tune and levels in the plan, and the levels that a method is compiled for."""

from __future__ import annotations

from collections.abc import Sequence

from aotbuild.config.messages import listed, located
from aotbuild.config.project import Project
from aotbuild.config.resolve import method_label
from aotbuild.config.schema import Model
from aotbuild.errors import ConfigError
from aotbuild.steps.artifacts.spec import CompileSpec, LevelsSpec, TuneSpec, VerifySpec
from aotbuild.steps.artifacts.tuning import LEVELS as LEVELS_FILE
from aotbuild.steps.artifacts.tuning import TUNED
from aotbuild.steps.plan.engine import ENGINE_DIRECTORY, ENGINE_OUTPUT
from aotbuild.steps.plan.export import program_files
from aotbuild.steps.plan.planned_step import PlannedStep, specification, tools
from aotbuild.steps.plan.variant import PlannedVariant
from aotbuild.steps.tune.lock import Lock
from aotbuild.target import (
    AUTO,
    LEVELS,
    TARGET_VARIABLE,
    Target,
    built_architecture,
    cpu_targets,
    cross_architecture,
    higher_targets,
    possible_targets,
    usual_targets,
)


def tune_step(
    variant: PlannedVariant, compiling: CompileSpec, verifying: VerifySpec
) -> PlannedStep:
    """The step that chooses the recipe of a variant.

    Args:
        variant: The variant.
        compiling: How it is compiled, by whichever recipe.
        verifying: How it is verified.
    """
    directory = variant.tune_directory
    spec = TuneSpec(
        compile=compiling,
        verify=verifying,
        source=variant.model.source,
        output=directory,
        tools=tools(),
    )
    file, text = specification(f"{directory}/tune", spec)
    return PlannedStep(
        "tune",
        f"Tuning {variant.label}",
        file,
        text,
        f"{directory}/{TUNED}",
        [*program_files(variant.program), variant.exported, ENGINE_OUTPUT],
        others=[variant.recipe],
        model=variant.name,
    )


def levels_step(project: Project, variants: Sequence[PlannedVariant]) -> PlannedStep:
    """The step that finds which variants of a method are worth their place.

    Args:
        project: The project.
        variants: The variants, the lowest level first.
    """
    first = variants[0]
    spec = LevelsSpec(
        model=first.name,
        method=first.method,
        project=str(project.root),
        import_paths=[str(path) for path in project.import_paths],
        package=project.package,
        source=first.model.source,
        exported=first.program,
        variants=[variant.directory for variant in variants],
        engine=ENGINE_DIRECTORY,
        output=f"{first.program}/{LEVELS_FILE}",
        tools=tools(),
    )
    file, text = specification(f"{first.program}/levels-spec", spec)
    return PlannedStep(
        "levels",
        f"Comparing CPU levels of {method_label(first.name, first.method)}",
        file,
        text,
        spec.output,
        [*(variant.compiled for variant in variants), ENGINE_OUTPUT],
        model=first.name,
    )


def chosen_targets(
    model: Model, name: str, method: str, lock: Lock
) -> tuple[list[Target], list[Target]]:
    """What a method is compiled for on the CPU, and what stays only where it is faster.

    Args:
        model: The model's declaration.
        name: Its name.
        method: Name of the method.
        lock: What is pinned.

    Raises:
        ConfigError: No declared level is one of the architecture that is built for.
    """
    if model.cpu_levels == AUTO or model.cpu_levels is None:
        pinned = None if model.tune is False else lock.levels_of(name, method)
        levels = [each for each in possible_targets() if pinned and each.name in pinned.kept]
        return (levels, []) if levels else (usual_targets(), higher_targets())
    targets = cpu_targets(model.cpu_levels)
    if not targets:
        place = TARGET_VARIABLE if cross_architecture() else "this machine"
        raise ConfigError(
            f"no listed CPU level fits {place} ({built_architecture()})",
            where=located(f"tool.aotbuild.models.{name}.cpu-levels"),
            fix=f"add one of {listed([target.level for target in cpu_targets(LEVELS)])}",
        )
    return targets, []
