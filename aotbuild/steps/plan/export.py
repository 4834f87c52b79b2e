"""The step export in the plan."""

from __future__ import annotations

import dataclasses

from aotbuild.config.project import Project
from aotbuild.config.resolve import calls
from aotbuild.steps.artifacts.call_spec import CALL
from aotbuild.steps.artifacts.facts import FACTS
from aotbuild.steps.artifacts.program import PROGRAM
from aotbuild.steps.artifacts.spec import ExportSpec
from aotbuild.steps.artifacts.stamps import EXPORTED
from aotbuild.steps.artifacts.weights_index import INDEX
from aotbuild.steps.plan.planned_step import PlannedStep, specification, tools


def export_step(project: Project, name: str, device: str) -> PlannedStep:
    """The step that exports all methods of a model.

    Args:
        project: The project.
        name: Name of the model.
        device: The device that it is traced for.
    """
    output = export_directory(name, device)
    file, text = specification(f"{output}/export", export_spec(project, name, device, output))
    methods = calls(project.models[name])
    return PlannedStep(
        "export",
        f"Exporting {name}",
        file,
        text,
        export_output(name, device),
        [],
        others=[
            *(path for method in methods for path in program_files(f"{output}/{method}")),
            f"{output}/{INDEX}",
        ],
    )


def export_spec(project: Project, name: str, device: str, output: str) -> ExportSpec:
    """The specification of an export: nothing that only later steps use.

    Args:
        project: The project.
        name: Name of the model.
        device: The device that it is traced for.
        output: Directory for what the step writes.
    """
    declaration = dataclasses.replace(
        project.models[name],
        verify=None,
        inductor={},
        targets={},
        tune=None,
        recipe=None,
        # A size that tracing fixes is an error unless the project accepts it.
        strict_dims=False if project.models[name].strict_dims is False else None,
        cpu_levels=None,
        require_verified=None,
        swappable=None,
        num_runners=None,
        runtime=None,
    )
    return ExportSpec(
        name=name,
        device=device,
        declaration=declaration,
        project=str(project.root),
        package=project.package,
        import_paths=[str(path) for path in project.import_paths],
        output=output,
        tools=tools(),
    )


def export_directory(name: str, device: str) -> str:
    """Where an export of a model is; each method has a directory in it."""
    return f"models/{name}/{device}"


def export_output(name: str, device: str) -> str:
    """The file that an export writes last."""
    return f"{export_directory(name, device)}/{EXPORTED}"


def program_files(directory: str) -> list[str]:
    """What compiling a method depends on; other weights leave it as it is.

    Args:
        directory: The export's directory of the method.
    """
    return [f"{directory}/{name}" for name in (PROGRAM, CALL, FACTS)]
