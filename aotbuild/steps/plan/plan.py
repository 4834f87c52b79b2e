"""The plan: which steps make the package, from what, in which order.

Written as ``plan.json`` for CMake, with one specification file for each step. A file that would
not change is left alone, so that a step runs again only when its own part of the declaration did.
Each step's part of the plan has a module of its own here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aotbuild.cache.store import Store
from aotbuild.config.develop import EAGER, with_eager
from aotbuild.config.messages import did_you_mean, listed, located
from aotbuild.config.project import Project, load_project
from aotbuild.config.resolve import calls, weights_file
from aotbuild.config.runtimes import with_runtimes
from aotbuild.errors import ConfigError
from aotbuild.progress.events import Planned, tell
from aotbuild.steps.artifacts.build_plan import write_plan
from aotbuild.steps.artifacts.header_directory import make_header_directory
from aotbuild.steps.artifacts.spec import MethodParts
from aotbuild.steps.choose.chosen import with_choices
from aotbuild.steps.files import write_if_changed
from aotbuild.steps.plan.bundle import METADATA_DIRECTORY, PACKAGE_DIRECTORY, bundle_step
from aotbuild.steps.plan.compile import compile_spec, compile_step
from aotbuild.steps.plan.engine import engine_step
from aotbuild.steps.plan.export import export_directory, export_step
from aotbuild.steps.plan.jobs import jobs
from aotbuild.steps.plan.options import check_options
from aotbuild.steps.plan.planned_step import PlannedStep
from aotbuild.steps.plan.tune import chosen_targets, levels_step, tune_step
from aotbuild.steps.plan.variant import PlannedVariant
from aotbuild.steps.plan.verify import verify_spec, verify_step
from aotbuild.steps.tune.lock import Lock, read_lock

ALL = "--all"


def plan(
    project_directory: Path,
    requested: Iterable[str],
    build: Path,
    runtimes: Mapping[str, str] | None = None,
    required: str = "",
    version: str = "",
    develop: str = "",
) -> None:
    """Plan the build of the requested models in the directory ``build``.

    Args:
        project_directory: Directory of the pyproject.toml.
        requested: Names of declared models, or ``--all``.
        build: Directory for the plan and all that the steps write.
        runtimes: What runs the models that leave that to the build, by name, as far as it is known.
        required: The versions of torch that the wheel requires, as far as they are known.
        version: The version of the project, where pyproject.toml need not have it.
        develop: ``eager`` or ``compiled`` for what ``aotbuild develop`` installs.

    Raises:
        ConfigError: The declaration is wrong, or lacks a requested model.
    """
    project = load_project(project_directory)
    if project is None:
        raise ConfigError(
            "the project declares no models",
            where=located("tool.aotbuild"),
            fix="add [tool.aotbuild.models.<name>], or remove find_package(AotBuild)",
        )
    wanted = [] if ALL in (names := list(requested)) else names
    models = declared_models(project, wanted, where="CMakeLists.txt: aotbuild_add_model({name})")
    # The hook tells what runs them. Where CMake is run without it, that is found out here.
    project = with_choices(with_runtimes(project, runtimes or {}), models)
    check_options(project, models)
    Store.of_build(build).begin()
    steps = planned_steps(project, models, read_lock(project.root), required, version, develop)
    write_specs(build, steps)
    at_once = jobs(_known_weights(project, models))
    tell(Planned([step.comment for step in steps], at_once))
    write_plan(
        build,
        [step.command for step in steps],
        at_once,
        PACKAGE_DIRECTORY,
        METADATA_DIRECTORY,
        project.package,
    )


def declared_models(project: Project, names: Sequence[str], where: str) -> list[str]:
    """The models of these names; all that are declared when there are none.

    Args:
        project: The project.
        names: The names.
        where: The place that names them, in which ``{name}`` stands for a name.

    Raises:
        ConfigError: One is not declared.
    """
    declared = project.config.models
    for name in names:
        if name not in declared:
            raise ConfigError(
                f'the model "{name}" is not declared',
                where=where.format(name=name),
                fix=did_you_mean(name, declared) or f"declared are: {listed(declared)}",
            )
    return list(names) or list(declared)


def planned_steps(
    project: Project,
    names: Sequence[str],
    lock: Lock,
    required: str = "",
    version: str = "",
    develop: str = "",
) -> list[PlannedStep]:
    """The steps that build models, each behind those whose output it depends on.

    Args:
        project: The project.
        names: The models.
        lock: What is pinned.
        required: The versions of torch that the wheel requires, as far as they are known.
        version: The version of the project, where pyproject.toml need not have it.
        develop: ``eager`` or ``compiled`` for what ``aotbuild develop`` installs.
    """
    eager = develop == EAGER
    project = with_eager(project) if eager else project
    steps = [] if eager else [engine_step()]
    parts: list[MethodParts] = []
    for name in names:
        model_steps, methods = _model_steps(project, name, lock, eager=eager)
        steps += model_steps
        parts += methods
    return [*steps, bundle_step(project, parts, steps, required, version, develop)]


def _model_steps(
    project: Project, name: str, lock: Lock, *, eager: bool
) -> tuple[list[PlannedStep], list[MethodParts]]:
    """The steps of one model, and what the bundle has of it."""
    model = project.models[name]
    assert model.devices  # noqa: S101  # resolved
    steps: list[PlannedStep] = []
    variants: dict[str, list[str]] = {method: [] for method in calls(model)}
    levels: dict[str, list[str]] = {method: [] for method in calls(model)}
    for device in model.devices:
        steps.append(export_step(project, name, device))
        for method, directories in variants.items() if not eager else ():
            needed, optional = chosen_targets(model, name, method, lock)
            own = [PlannedVariant(project, name, method, each) for each in [*needed, *optional]]
            for variant in own:
                steps += _variant_steps(variant, lock)
            # The best first, which is taken where it fits.
            directories.extend(variant.directory for variant in reversed(own))
            if optional:
                steps.append(levels_step(project, own))
                levels[method].append(steps[-1].output)
    first = export_directory(name, model.devices[0])
    return steps, [
        MethodParts(
            model=name,
            method=method,
            source=model.source,
            exported=f"{first}/{method}",
            variants=directories,
            levels=levels[method],
            runners=model.num_runners or 1,
            swappable=bool(model.swappable),
        )
        for method, directories in variants.items()
    ]


def _variant_steps(variant: PlannedVariant, lock: Lock) -> list[PlannedStep]:
    compiling, verifying = compile_spec(variant, lock), verify_spec(variant)
    tuning = [tune_step(variant, compiling, verifying)] if variant.model.tune else []
    return [*tuning, compile_step(variant, compiling), verify_step(variant, verifying)]


def write_specs(build: Path, steps: Sequence[PlannedStep]) -> None:
    """Write the specification files of steps into the directory of a build."""
    for step in steps:
        write_if_changed(build / step.spec, step.text)
    make_header_directory(build, Counter(step.target for step in steps if step.step == "compile"))


def _known_weights(project: Project, names: Iterable[str]) -> int:
    """Bytes of the largest file of weights that a model declares."""
    files = [project.root / (weights_file(project.models[name]) or "") for name in names]
    return max((file.stat().st_size for file in files if file.is_file()), default=0)
