"""Whether a traced model can do without torch: it is lowered, and its code looked through."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from aotbuild.config.project import Project
from aotbuild.config.resolve import method_label
from aotbuild.config.runtimes import Choice, declared_reason
from aotbuild.config.schema import STANDALONE, TORCH
from aotbuild.errors import AotBuildError
from aotbuild.steps.artifacts.spec import CompileSpec
from aotbuild.steps.compile.inductor import Code, set_up
from aotbuild.steps.compile.job import Job
from aotbuild.steps.compile.lowering import lowering
from aotbuild.steps.compile.only_torch import what_needs_torch
from aotbuild.steps.compile.standalone import functions_in, only_of_torch
from aotbuild.steps.compile.torch_interface import declared as declared_functions
from aotbuild.steps.compile.torch_interface import need_of
from aotbuild.steps.export.step import write_programs
from aotbuild.steps.export.traced import TracedModel
from aotbuild.steps.plan.compile import compile_specs
from aotbuild.steps.sizes.proofs import proving
from aotbuild.steps.tune.lock import read_lock
from aotbuild.steps.tune.pins import decided
from aotbuild.torch_version import COMPATIBLE, TorchNeed

_CXX = ["g++"]
"""What would compile the code: it is not called."""


def choose(project: Project, name: str, model: TracedModel) -> Choice:
    """Find out what runs a model.

    Args:
        project: The project.
        name: Name of the model.
        model: The model, traced.

    Raises:
        AotBuildError: It cannot be lowered.
    """
    declared = declared_reason(project.models[name])
    ranged = project.config.torch == COMPATIBLE
    codes = []
    with tempfile.TemporaryDirectory(prefix="aotbuild-") as scratch:
        exported = Path(scratch, "exported")
        write_programs(model, exported)
        methods = set[str]()
        for spec in compile_specs(project, name, read_lock(project.root), exported):
            if spec.method in methods:
                continue  # all CPU levels call the same functions
            methods.add(spec.method)
            directory = Path(scratch, f"method{len(methods)}")
            directory.mkdir()
            codes.append(code := _lowered(decided(spec), directory))
            reasons = [] if declared is not None else _what_needs_torch(code, project)
            if declared is None and reasons:
                declared = "\n".join(reasons)
            if declared is not None and not ranged:
                break
    if declared is None:
        return Choice(STANDALONE)
    return Choice(TORCH, declared, _torch_need(codes) if ranged else None)


def _lowered(spec: CompileSpec, directory: Path) -> Code:
    """The code of a method."""
    job = Job.of(spec)
    job.load_operators()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(directory / "cache")
    try:
        with proving(), set_up(job.target, _CXX, directory, spec.options) as setup:
            lower = lowering(spec, job.call, setup, job.weights)
            code = lower(job.call.example, lambda _: False).code
    except AotBuildError as error:
        error.where = error.where or f"the model {method_label(spec.model, spec.method)}"
        raise
    assert code is not None  # noqa: S101  # it was lowered
    return code


def _what_needs_torch(code: Code, project: Project) -> list[str]:
    """What the code of a method needs torch for."""
    functions = only_of_torch(code.text)
    return what_needs_torch(functions, code.graph, code.called_by_runner, project.root)


def _torch_need(codes: Iterable[Code]) -> TorchNeed:
    """The versions of torch that run code; what is compiled besides calls nothing rarer."""
    named = {name for code in codes for name in functions_in(code.text)}
    return need_of(named & declared_functions().keys())
