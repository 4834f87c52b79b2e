"""The plan: which steps make the package, from what, in which order.

Written as ``plan.json`` for CMake, with one specification file for each step. A file that would
not change is left alone, so that a step runs again only when its own part of the declaration did.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aotbuild.build.files import write_if_changed
from aotbuild.build.spec import (
    BundleSpec,
    CompileSpec,
    ExportSpec,
    ModelParts,
    Tools,
    VerifySpec,
    spec_text,
)
from aotbuild.target import default_target
from aotbuild.config.parse import did_you_mean, listed, located
from aotbuild.config.project import Project, load_project
from aotbuild.errors import ConfigError
from aotbuild.torch_version import installed_torch

ALL = "--all"


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
    names = _names(project, list(requested))
    commands = _commands(project, names)
    for command in commands:
        write_if_changed(build / command.spec, command.text)
    table = {
        "commands": [
            {
                "step": command.step,
                "comment": command.comment,
                "spec": command.spec,
                "output": command.output,
                "depends": command.depends,
            }
            for command in commands
        ],
        "package-dir": "package",
        "destination": project.package.replace(".", "/"),
    }
    write_if_changed(build / "plan.json", json.dumps(table, indent=1) + "\n")


def _names(project: Project, requested: list[str]) -> list[str]:
    declared = project.config.models
    if ALL in requested:
        return list(declared)
    for name in requested:
        if name not in declared:
            raise ConfigError(
                f'the model "{name}" is not declared',
                where=f"CMakeLists.txt: aotbuild_add_model({name})",
                fix=did_you_mean(name, declared) or f"declared are: {listed(declared)}",
            )
    return requested


def _commands(project: Project, names: list[str]) -> list[Command]:
    torch = installed_torch()
    tools = Tools(aotbuild=importlib.metadata.version("aotbuild"), torch=str(torch))
    commands: list[Command] = []
    parts: list[ModelParts] = []
    for name in names:
        model_commands, model_parts = _model_commands(project, name, tools)
        commands += model_commands
        parts.append(model_parts)
    bundle = BundleSpec(package=project.package, models=parts, output="package", tools=tools)
    needed = [command.output for command in commands]
    commands.append(
        _command("bundle", f"Bundling {project.package}", "bundle", bundle, "bundled.json", needed)
    )
    return commands


def _model_commands(project: Project, name: str, tools: Tools) -> tuple[list[Command], ModelParts]:
    model = project.config.models[name]
    commands = []
    variants = []
    for device in model.devices:
        exported = f"models/{name}/{device}"
        export = ExportSpec(
            name=name,
            device=device,
            declaration=model,
            project=str(project.root),
            package=project.package,
            import_paths=[str(path) for path in project.import_paths],
            output=exported,
            tools=tools,
        )
        program = f"{exported}/call.json"
        commands.append(
            _command("export", f"Exporting {name}", f"{exported}/export", export, program, [])
        )
        target = default_target(device).name
        variant = f"models/{name}/{target}"
        compiled = f"{variant}/compiled.json"
        compile_spec = CompileSpec(
            name=name, target=target, exported=exported, output=variant, tools=tools
        )
        comment = f"Compiling {name} for {target}"
        commands.append(
            _command("compile", comment, f"{variant}/compile", compile_spec, compiled, [program])
        )
        verify_spec = VerifySpec(
            name=name,
            target=target,
            declaration=model,
            exported=exported,
            compiled=variant,
            output=variant,
            tools=tools,
        )
        verified = f"{variant}/verified.json"
        comment = f"Verifying {name} for {target}"
        commands.append(
            _command(
                "verify", comment, f"{variant}/verify", verify_spec, verified, [program, compiled]
            )
        )
        variants.append(variant)
    first = f"models/{name}/{model.devices[0]}"
    parts = ModelParts(name=name, source=model.source, exported=first, variants=variants)
    return commands, parts


def _command(
    step: str, comment: str, stem: str, spec: Any, output: str, depends: list[str]
) -> Command:
    return Command(step, comment, f"{stem}.json", spec_text(spec), output, depends)
