"""What is compiled, or only lowered, and for what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from aotbuild.config.messages import located
from aotbuild.config.resolve import call_path
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.export_weights import Stored
from aotbuild.steps.artifacts.spec import CompileSpec
from aotbuild.steps.compile.program_weights import ProgramWeights
from aotbuild.steps.export.quantize import load_operators
from aotbuild.steps.project_code import importing, load_op_libraries
from aotbuild.target import TARGETS, Target


@dataclass(frozen=True)
class Job:
    """A specification of the step compile, and what its export has left."""

    spec: CompileSpec
    target: Target
    call: CallSpec
    weights: ProgramWeights
    output: Path
    where: str
    """Where the model is declared."""

    @classmethod
    def of(cls, spec: CompileSpec) -> Job:
        """Read what a specification, whose recipe is decided, names."""
        exported, target = Path(spec.exported), TARGETS[spec.target]
        weights = ProgramWeights(
            Stored.read(exported.parent),
            spec.method,
            torch.device(target.device),
            freezing=bool(spec.options.get("freezing")),
        )
        where = located(call_path(spec.model, spec.method))
        return cls(spec, target, CallSpec.read(exported), weights, Path(spec.output), where)

    def load_operators(self) -> None:
        """Register the operators that the program calls."""
        with importing(self.spec.import_paths, self.spec.package):
            load_op_libraries(self.call.op_libraries, Path(self.spec.project))
            if self.spec.quantize:
                load_operators()
