"""The plan: which steps make the package, from what, in which order.

Written as ``plan.json`` for CMake, with one specification file for each step. A file that would
not change is left alone, so that a step runs again only when its own part of the declaration did.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aotbuild.cache.store import Store
from aotbuild.config.companion import companion
from aotbuild.config.parse import did_you_mean, listed, located, parse_table
from aotbuild.config.project import Project, load_project
from aotbuild.config.resolve import calls, flat_options, settings_for, weights_file
from aotbuild.config.schema import FORWARD, Model, Settings
from aotbuild.errors import ConfigError
from aotbuild.steps.artifacts.facts import FACTS
from aotbuild.steps.artifacts.spec import (
    CALL,
    INDEX,
    PRECOMPILE,
    PRECOMPILING_PAYS,
    PROGRAM,
    SHARED,
    Apart,
    BundleSpec,
    CompileSpec,
    EngineSpec,
    ExportSpec,
    LevelsSpec,
    MethodParts,
    Pinned,
    Tools,
    TuneSpec,
    VerifySpec,
    spec_text,
)
from aotbuild.steps.files import write_if_changed
from aotbuild.steps.plan.jobs import jobs
from aotbuild.steps.tune.lock import Lock, read_lock
from aotbuild.steps.tune.recipes import RECIPES, limits
from aotbuild.target import (
    AUTO,
    LEVELS,
    Target,
    cpu_targets,
    higher_targets,
    possible_targets,
    this_architecture,
    usual_targets,
)
from aotbuild.torch_version import installed_torch

ALL = "--all"

_OUT_VARIABLE = "AOTBUILD_WEIGHTS_OUT"
_ENGINE_DIR = "engine"
_ENGINE = f"{_ENGINE_DIR}/engine.json"


@dataclass(frozen=True)
class Command:
    """One run of a step."""

    step: str
    comment: str
    spec: str
    text: str
    """Content of the specification file."""
    output: str
    """The file that the step writes last; its depfile is ``<output>.d``."""
    depends: list[str]
    """Outputs of other commands."""
    others: list[str] = field(default_factory=list)
    """What else the step writes that others depend on, and leaves alone where it is the same."""
    target: str = ""
    """What it compiles for."""
    model: str = ""
    """The model that it is for."""


def plan(project_directory: Path, requested: Iterable[str], build: Path) -> None:
    """Plan the build of the requested models in the directory ``build``.

    Args:
        project_directory: Directory of the pyproject.toml.
        requested: Names of declared models, or ``--all``.
        build: Directory for the plan and all that the steps write.

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
    wanted = [] if ALL in (asked := list(requested)) else asked
    names = declared_models(project, wanted, where="CMakeLists.txt: aotbuild_add_model({name})")
    check_options(project, names)
    Store.of_build(build).begin()
    commands = planned_commands(project, names, read_lock(project.root))
    write_specs(build, commands)
    table = {
        "commands": [
            {
                "step": command.step,
                "comment": command.comment,
                "spec": command.spec,
                "output": command.output,
                "others": command.others,
                "depends": command.depends,
            }
            for command in commands
        ],
        "jobs": jobs(_known_weights(project, names)),
        "package-dir": "package",
        "destination": project.package.replace(".", "/"),
    }
    write_if_changed(build / "plan.json", json.dumps(table, indent=1) + "\n")


def write_specs(build: Path, commands: Sequence[Command]) -> None:
    """Write the specification files of commands into the directory of a build."""
    for command in commands:
        write_if_changed(build / command.spec, command.text)
    _share(build, commands)


def _known_weights(project: Project, names: Iterable[str]) -> int:
    """Bytes of the largest file of weights that a model declares."""
    files = [project.root / (weights_file(project.models[name]) or "") for name in names]
    return max((file.stat().st_size for file in files if file.is_file()), default=0)


def _share(build: Path, commands: Iterable[Command]) -> None:
    """Make the directory of what compiles have in common, and note for which targets much is."""
    compiles = Counter(command.target for command in commands if command.step == "compile")
    if compiles.total() > 1:
        (build / SHARED).mkdir(exist_ok=True)
    for target, count in compiles.items():
        if count >= PRECOMPILING_PAYS:
            (build / SHARED / f"{PRECOMPILE}-{target}").touch()


def check_options(project: Project, names: Iterable[str]) -> None:
    """Check the options that are passed to Inductor, which only torch knows.

    Raises:
        ConfigError: One does not exist, or has a value of another type.
    """
    # The options are checked where they are written: once, however many models they are for.
    tables = [(table, path) for table, path in _option_tables(project, names) if table]
    if not tables:
        return
    from aotbuild.steps.compile import inductor  # imports torch, which takes a second

    for table, path in tables:
        inductor.check_options(flat_options(table), path)


def _option_tables(project: Project, names: Iterable[str]) -> Iterator[tuple[dict[str, Any], str]]:
    settings: list[tuple[Settings, str]] = [(project.config, "tool.aotbuild")]
    settings += [(project.config.models[name], f"tool.aotbuild.models.{name}") for name in names]
    settings += [
        (profile, f"tool.aotbuild.profiles.{name}")
        for name, profile in project.config.profiles.items()
    ]
    for table, path in settings:
        yield table.inductor, f"{path}.inductor"
        for name, target in table.targets.items():
            yield target.inductor, f"{path}.targets.{name}.inductor"


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


def planned_commands(project: Project, names: list[str], lock: Lock) -> list[Command]:
    """The commands that build models, each behind those whose output it depends on.

    Args:
        project: The project.
        names: The models.
        lock: What is pinned.
    """
    planned = [_model_commands(project, name, lock) for name in names]
    engine = EngineSpec(output=_ENGINE_DIR, tools=_tools())
    commands = [_command("engine", "Building the engine", "engine", engine, _ENGINE, [])]
    commands += [command for own, _ in planned for command in own]
    apart = weights_apart(project)
    bundle = BundleSpec(
        apart=apart,
        package=project.package,
        project=str(project.root),
        parts=[part for _, parts in planned for part in parts],
        engine=_ENGINE_DIR,
        tuned=[
            command.output
            for command in commands
            if command.step in {"tune", "levels"} and project.models[command.model].tune
        ],
        torch=project.config.torch,
        size_limit=project.config.size_limit,
        output="package",
        tools=_tools(),
    )
    needed = [command.output for command in commands]
    comment = f"Bundling {project.package}"
    last = _command("bundle", comment, "bundle", bundle, "bundled.json", needed)
    return [*commands, dataclasses.replace(last, others=[apart.file] if apart else [])]


def weights_apart(project: Project) -> Apart | None:
    """Where the weights go if not into the package.

    Raises:
        ConfigError: The version of their wheel is not known.
    """
    if project.config.weights_in == "wheel":
        return None
    out = project.root / (os.environ.get(_OUT_VARIABLE) or project.config.weights_out)
    requirement = companion(project.config, project.pyproject)
    apart = Apart(package=project.package, file="", requirement=requirement)
    name = f"{project.package}.safetensors"
    if requirement:
        name = f"{apart.module}-{requirement.partition('==')[2]}-py3-none-any.whl"
    return dataclasses.replace(apart, file=str(out / name))


def _tools() -> Tools:
    return Tools(aotbuild=importlib.metadata.version("aotbuild"), torch=str(installed_torch()))


def export_spec(project: Project, name: str, device: str, output: str) -> ExportSpec:
    """What the export of a model is told: nothing that only later steps use."""
    declaration = dataclasses.replace(
        project.models[name],
        verify=None,
        inductor={},
        targets={},
        tune=None,
        recipe=None,
        strict_dims=None,
        cpu_levels=None,
        require_verified=None,
        swappable=None,
        num_runners=None,
    )
    return ExportSpec(
        name=name,
        device=device,
        declaration=declaration,
        project=str(project.root),
        package=project.package,
        import_paths=[str(path) for path in project.import_paths],
        output=output,
        tools=_tools(),
    )


def compile_specs(project: Project, name: str, lock: Lock) -> list[CompileSpec]:
    """What the compiles of a model are told: all of its methods, for all targets."""
    commands, _ = _model_commands(project, name, lock)
    return [
        parse_table(CompileSpec, json.loads(command.text), command.spec)
        for command in commands
        if command.step == "compile"
    ]


def _model_commands(
    project: Project, name: str, lock: Lock
) -> tuple[list[Command], list[MethodParts]]:
    model = project.models[name]
    assert model.devices  # noqa: S101  # resolved
    commands = []
    variants: dict[str, list[str]] = {method: [] for method in calls(model)}
    chosen: dict[str, list[str]] = {method: [] for method in calls(model)}
    for device in model.devices:
        output = f"models/{name}/{device}"
        exported = f"{output}/exported.json"
        spec = export_spec(project, name, device, output)
        export = _command("export", f"Exporting {name}", f"{output}/export", spec, exported, [])
        others = [path for method in variants for path in _programs(f"{output}/{method}")]
        commands.append(dataclasses.replace(export, others=[*others, f"{output}/{INDEX}"]))
        for method, found in variants.items():
            targets, optional = _targets(model, name, method, lock)
            made = []
            for target in [*targets, *optional]:
                compiled, variant = _variant_commands(project, name, method, target, exported, lock)
                commands += compiled
                made.append(variant)
            found.extend(reversed(made))  # the best first, which is taken where it fits
            if optional:
                levels = _levels_command(project, name, method, device, made)
                commands.append(levels)
                chosen[method].append(levels.output)
    first = f"models/{name}/{model.devices[0]}"
    return commands, [
        MethodParts(
            model=name,
            method=method,
            source=model.source,
            exported=f"{first}/{method}",
            variants=own,
            levels=chosen[method],
            runners=model.num_runners or 1,
            swappable=bool(model.swappable),
        )
        for method, own in variants.items()
    ]


def _programs(directory: str) -> list[str]:
    """What compiling a method depends on; other weights leave it as it is."""
    return [f"{directory}/{name}" for name in (PROGRAM, CALL, FACTS)]


def _targets(model: Model, name: str, method: str, lock: Lock) -> tuple[list[Target], list[Target]]:
    """What a method is compiled for on the CPU, and what is kept only where it is faster."""
    if model.cpu_levels == AUTO or model.cpu_levels is None:
        pinned = None if model.tune is False else lock.levels_of(name, method)
        kept = [each for each in possible_targets() if pinned and each.name in pinned.kept]
        return (kept, []) if kept else (usual_targets(), higher_targets())
    found = cpu_targets(model.cpu_levels)
    if not found:
        own = this_architecture()
        raise ConfigError(
            f"none of the CPU levels is of {own}, which this machine is",
            where=located(f"tool.aotbuild.models.{name}.cpu-levels"),
            fix=f"add one of {listed([target.level for target in cpu_targets(LEVELS)])}",
        )
    return found, []


def _levels_command(
    project: Project, name: str, method: str, device: str, variants: list[str]
) -> Command:
    """The step that finds which of the variants are worth their place, the lowest level first."""
    output = f"models/{name}/{device}/{method}/levels"
    spec = LevelsSpec(
        model=name,
        method=method,
        project=str(project.root),
        import_paths=[str(path) for path in project.import_paths],
        package=project.package,
        source=project.models[name].source,
        exported=f"models/{name}/{device}/{method}",
        variants=variants,
        engine=_ENGINE_DIR,
        output=f"{output}.json",
        tools=_tools(),
    )
    told = name if method == FORWARD else f"{name}.{method}"
    needed = [f"{variant}/compiled.json" for variant in variants] + [_ENGINE]
    comment = f"Comparing CPU levels of {told}"
    command = _command("levels", comment, f"{output}-spec", spec, spec.output, needed)
    return dataclasses.replace(command, model=name)


def _variant_commands(
    project: Project, name: str, method: str, target: Target, exported: str, lock: Lock
) -> tuple[list[Command], str]:
    """The steps that make one method for one target, and the directory of what they write."""
    model = project.models[name]
    tune = f"models/{name}/{target.name}/{method}/tune"
    settings = settings_for(model, target.device, target.name)
    variant = f"models/{name}/{target.name}/{method}"
    common: dict[str, Any] = {
        "model": name,
        "method": method,
        "target": target.name,
        "project": str(project.root),
        "import_paths": [str(path) for path in project.import_paths],
        "package": project.package,
        "quantize": model.quantize,
        "exported": f"models/{name}/{target.device}/{method}",
        "output": variant,
        # What quantising changes is declared; no recipe adds to it.
        "allowed": None if model.quantize else limits(model.tune),
        "tools": _tools(),
    }
    compile_spec = CompileSpec(
        **common,
        options=settings.inductor,
        swappable=bool(model.swappable),
        recipe=model.recipe or "",
        pinned=_pinned(model, name, method, target, lock),
        tuned=f"{tune}/recipe.json" if model.tune else "",
        strict_dims=bool(model.strict_dims),
        chosen=[dim for dim, own in calls(model)[method].dims.items() if own.example is not None],
    )
    verify_spec = VerifySpec(
        **common,
        source=model.source,
        verify=settings.verify,
        require_verified=bool(model.require_verified),
        compiled=variant,
        engine=_ENGINE_DIR,
    )
    compiled, verified = f"{variant}/compiled.json", f"{variant}/verified.json"
    told = f"{name if method == FORWARD else f'{name}.{method}'} for {target.name}"
    programs = _programs(common["exported"])
    before = []
    if model.tune:
        spec = TuneSpec(
            compile=compile_spec,
            verify=verify_spec,
            source=model.source,
            output=tune,
            tools=_tools(),
        )
        output = f"{tune}/tuned.json"
        needed = [*programs, exported, _ENGINE]
        command = _command("tune", f"Tuning {told}", f"{tune}/tune", spec, output, needed)
        before.append(dataclasses.replace(command, others=[compile_spec.tuned], model=name))
        programs = [*programs, compile_spec.tuned]
    return [
        *before,
        _command(
            "compile",
            f"Compiling {told}",
            f"{variant}/compile",
            compile_spec,
            compiled,
            programs,
            target.name,
        ),
        _command(
            "verify",
            f"Verifying {told}",
            f"{variant}/verify",
            verify_spec,
            verified,
            [exported, compiled, _ENGINE],
        ),
    ], variant


def _pinned(model: Model, name: str, method: str, target: Target, lock: Lock) -> Pinned | None:
    """What the lock file has for a method and a target, unless the settings leave it aside."""
    choice = None if model.tune is False else lock.choice(name, method, target.name)
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


def _command(
    step: str,
    comment: str,
    stem: str,
    spec: Any,
    output: str,
    depends: list[str],
    target: str = "",
) -> Command:
    return Command(step, comment, f"{stem}.json", spec_text(spec), output, depends, target=target)
