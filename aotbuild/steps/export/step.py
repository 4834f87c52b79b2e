"""Step export: source, weights and inputs become programs, call specs and reference outputs."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from aotbuild.config.messages import located
from aotbuild.config.resolve import kinds_of_files
from aotbuild.errors import ExportError
from aotbuild.steps.artifacts.eager_program import remove_eager, write_eager
from aotbuild.steps.artifacts.export_weights import Stored, store, write_hollow_programs
from aotbuild.steps.artifacts.facts import facts_of
from aotbuild.steps.artifacts.model_files import write_model_files
from aotbuild.steps.artifacts.spec import ExportSpec, read_spec
from aotbuild.steps.artifacts.stamps import write_exported
from aotbuild.steps.export.trace import trace
from aotbuild.steps.export.traced import TracedModel
from aotbuild.steps.project_code import FileTracker


def run(spec_file: Path) -> None:
    """Run the step; the specification is an ``ExportSpec``."""
    began = time.time_ns()
    spec = read_spec(ExportSpec, spec_file)
    project, output = Path(spec.project), Path(spec.output)
    tracker = FileTracker(project)
    model = trace(spec)
    with _located(spec):
        stored = write_programs(model, output)
    for method in model.methods:
        remove_eager(output / method.name)
    _write_fallbacks(spec, model, stored.names, output)
    kinds = kinds_of_files(spec.declaration)
    write_model_files(output, project, kinds)
    # What is not opened by Python, as libraries of operators and safetensors, is not tracked.
    read = tracker.files() + [project / name for name in kinds]
    write_exported(output, read, began)


def prepare(_: Path) -> None:
    """Import what torch imports with its first export, in the process that forks for each step.

    That takes longer than most exports.
    """
    importlib.import_module("torch.export._trace")


def write_programs(model: TracedModel, output: Path) -> Stored:
    """Write what the step compile reads, and the weights."""
    _write_methods(model, output)
    return store(_programs(model), model.state, output, model.initial)


def check_writing(model: TracedModel, spec: ExportSpec) -> None:
    """Write what the step writes, but for the weights, and forget it.

    Raises:
        AotBuildError: Something cannot be written.
    """
    with tempfile.TemporaryDirectory() as name, _located(spec):
        output = Path(name)
        _write_methods(model, output)
        names = write_hollow_programs(_programs(model), model.state, output)
        _write_fallbacks(spec, model, names, output)


def _write_methods(model: TracedModel, output: Path) -> None:
    for method in model.methods:
        method.write(output / method.name)
        facts_of(method.program).write(output / method.name)


def _write_fallbacks(
    spec: ExportSpec, model: TracedModel, names: Mapping[str, Mapping[str, str]], output: Path
) -> None:
    """Write the programs that stand in for compiled code, if the project wants them."""
    if spec.declaration.fallback:
        for method in model.methods:
            directory = output / method.name
            write_eager(method.program, names[method.name], directory, spec.declaration.source)


@contextlib.contextmanager
def _located(spec: ExportSpec) -> Iterator[None]:
    """Say of which model a program cannot be written, and its line by its place in the project."""
    try:
        yield
    except ExportError as error:
        line = error.where.removeprefix(f"{Path(spec.project).resolve()}/")
        error.where = f"{located(f'tool.aotbuild.models.{spec.name}')}\n{line}".rstrip()
        raise


def _programs(model: TracedModel) -> dict[str, torch.export.ExportedProgram]:
    return {method.name: method.program for method in model.methods}
