"""The models of a project, checked and traced, for the commands that compile nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aotbuild.commands.check_packaging import check_packaging
from aotbuild.commands.check_runtime import check_declared_torch, runtime_of
from aotbuild.config.messages import located
from aotbuild.config.project import Project, load_declared
from aotbuild.config.resolve import call_path
from aotbuild.config.runtimes import Choice, check_cross_compiled, torch_models
from aotbuild.errors import as_aotbuild_error, debugging, warn
from aotbuild.hook.requirement import check_build_torch, check_weights_requirement
from aotbuild.steps.plan.export import export_spec
from aotbuild.steps.plan.options import check_options
from aotbuild.steps.plan.plan import declared_models
from aotbuild.steps.torch_parts.moved import check_parts
from aotbuild.steps.torch_parts.part import COMPILE
from aotbuild.toolchain import check_cxx
from aotbuild.torch_output import quieten, quieten_torch

if TYPE_CHECKING:
    from aotbuild.config.schema import Model
    from aotbuild.steps.export.traced import Traced, TracedModel


def checked_project(directory: Path, names: Sequence[str]) -> tuple[Project, list[str]]:
    """Check what a project declares, and what it is built by.

    Args:
        directory: Directory of the pyproject.toml.
        names: The models; all of them when empty.

    Returns:
        The project, and the names of the models.

    Raises:
        AotBuildError: Something is wrong.
    """
    check_packaging(directory)
    project = load_declared(directory)
    chosen = declared_models(project, names, where=located("tool.aotbuild.models"))
    check_declared_torch(project)
    check_weights_requirement(project.pyproject, project.config)
    check_build_torch(project.pyproject)
    check_cxx()
    check_options(project, chosen)
    return project, chosen


def traced_models(
    project: Project, names: Iterable[str]
) -> Iterator[tuple[str, TracedModel, Choice, list[Path]]]:
    """Trace models, and find out what runs them.

    Why one cannot be traced is printed to standard error, and the others are traced all the same.

    Args:
        project: The project.
        names: The models.

    Yields:
        Of each model that can be traced, its name, what came of it, what runs it, and the files of
        the project that were read so far.
    """
    quieten()
    check_parts(COMPILE)
    from aotbuild.steps.export.step import check_writing  # imports torch, which takes a second
    from aotbuild.steps.export.trace import trace
    from aotbuild.steps.project_code import FileTracker

    quieten_torch()
    tracker = FileTracker(project.root)
    for name in names:
        devices = project.models[name].devices or []
        try:
            spec = export_spec(project, name, devices[0], output="")
            traced = trace(spec)
            check_writing(traced, spec)
            _check_conditions(project.models[name], name, traced.methods)
            runtime = runtime_of(project, name, traced, tracker)
            check_cross_compiled({name: torch_models(project).get(name, runtime)})
        except Exception as error:
            if debugging():
                raise
            print(as_aotbuild_error(error).block(), file=sys.stderr)  # noqa: T201
        else:
            yield name, traced, runtime, tracker.files()


def _check_conditions(model: Model, name: str, methods: Iterable[Traced]) -> None:
    """Tell of sizes that a build would leave out, or refuse to.

    Raises:
        AotBuildError: The project demands that all of them are accepted.
    """
    from aotbuild.steps.sizes.narrowing import conditional

    for method in methods:
        if method.call.conditions:
            error = conditional(call_path(name, method.name), method.call.conditions)
            if model.strict_dims:
                raise error
            warn(error.what, where=error.where, why=error.why, fix=error.fix)
