"""The cases in which a compiled model is compared: those that it accepts, and its own ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from aotbuild.runtime.conditions import holds
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.export_weights import Stored
from aotbuild.steps.artifacts.reference import Case, Reference, changed_by
from aotbuild.steps.artifacts.samples import Samples, verification_sizes
from aotbuild.steps.artifacts.spec import VerifySpec
from aotbuild.steps.export.arguments import call_program


def cases_to_verify(
    spec: VerifySpec,
    call: CallSpec,
    record: BuildRecord,
    samples: Samples,
    device: torch.device,
) -> list[Case]:
    """The reference cases inside the compiled ranges, and the ends of the narrowed ones.

    Args:
        spec: Specification of the step.
        call: How the method is called.
        record: What was compiled.
        samples: The arguments.
        device: Where they are.
    """
    exported = Reference.read(Path(spec.exported)).cases
    cases = [case for case in exported if _inside(record, case.sizes)]
    if record.dims != call.dims or record.example != call.example:
        # The eager module is not here; the exported program, run by eager torch, stands for it.
        stored = Stored.read(Path(spec.exported).parent)
        program = stored.load_program(spec.method, stored.open(), device)
        assert program.example_inputs is not None  # noqa: S101
        module = program.module()
        done = [case.sizes for case in cases]
        for label, sizes in verification_sizes(record.dims, record.example).items():
            if sizes not in done and _inside(record, sizes):
                tensors = samples.at(call.inputs, sizes, device)
                leaves = list(call_program(module, program.example_inputs, tensors))
                leaves += changed_by(call, tensors).values()
                cases.append(Case(label, sizes, leaves, exported[0].paths))
    return cases


def _inside(record: BuildRecord, sizes: Mapping[str, int]) -> bool:
    """Whether the compiled code accepts these sizes."""
    return all(sizes[name] in dim for name, dim in record.dims.items()) and all(
        holds(condition, sizes) for condition in record.conditions
    )
