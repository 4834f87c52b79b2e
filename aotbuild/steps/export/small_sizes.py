"""The sizes 0 and 1: a trace supposes that no size is one of them, and is tried at each.

Most programs serve them all the same. One does not where the model itself asks, as in
``x.squeeze(0)``, or where torch broadcasts along a dimension of size 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from aotbuild.config.parse import located
from aotbuild.errors import ExportError
from aotbuild.runtime.dims import Dim
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.program import module_of
from aotbuild.steps.artifacts.reference import Case, Reference
from aotbuild.steps.artifacts.samples import Samples
from aotbuild.steps.export.arguments import call_program
from aotbuild.steps.export.diagnosis import Finding
from aotbuild.steps.export.source import error_text

_TOLERANCE = 1e-2
"""Of the largest magnitude: the operators are those of eager torch, only taken apart."""


@dataclass(frozen=True)
class Difference:
    """Where a traced program is not what the model is."""

    case: str
    dims: dict[str, int]
    """The dimensions whose size is 0 or 1 there."""
    text: str


def first_difference(
    program: torch.export.ExportedProgram,
    call: CallSpec,
    samples: Samples,
    reference: Reference,
    device: torch.device,
) -> Difference | None:
    """The first case with a size of 0 or 1 in which a program gives something else.

    Args:
        program: The program, which returns the flat list of what it computes.
        call: How it is called.
        samples: Its arguments.
        reference: What the model returns.
        device: Where both are.
    """
    module = None
    for case in reference.cases:
        small = {name: size for name, size in case.sizes.items() if size < 2}
        if not small or program.example_inputs is None:
            continue
        module = module_of(program) if module is None else module
        tensors = samples.at(call.inputs, case.sizes, device)
        try:
            results = list(call_program(module, program.example_inputs, tensors))
        except Exception as error:  # noqa: BLE001  # whatever it is, eager torch does not raise it
            return Difference(case.label, small, f"the traced program fails: {error_text(error)}")
        text = _difference(results, case)
        if text:
            return Difference(case.label, small, text)
    return None


def _difference(results: Sequence[object], case: Case) -> str:
    actual = [result for result in results if isinstance(result, torch.Tensor)]
    expected = [leaf for leaf in case.leaves if isinstance(leaf, torch.Tensor)]
    if len(actual) != len(expected):
        return ""  # an output that is a constant is none of the program's
    for result, leaf in zip(actual, expected, strict=True):
        if result.shape != leaf.shape:
            return f"the shapes differ: traced {tuple(result.shape)}, eager {tuple(leaf.shape)}"
        if leaf.numel() and not _close(result.cpu(), leaf.cpu()):
            return "the values differ"
    return ""


def _close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    if not expected.is_floating_point():
        return torch.equal(actual, expected)
    magnitude = expected.abs().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).max()
    return torch.allclose(
        actual.double(),
        expected.double(),
        rtol=_TOLERANCE,
        atol=_TOLERANCE * float(magnitude),
        equal_nan=True,
    )


def small_size_error(
    difference: Difference, dims: Mapping[str, Dim], found: Sequence[Finding], path: str
) -> ExportError:
    """The error for a program that is wrong where a size is 0 or 1.

    Args:
        difference: Where it is wrong.
        dims: The ranges of the dimensions.
        found: What the model asks about sizes when torch supposes nothing of them.
        path: Dotted path of the declaration of the call.
    """
    lines = [
        line
        for finding in found
        if set(finding.dim.split(", ")) & set(difference.dims)
        for line in finding.line.splitlines()
    ]
    places = [located(f"{path}.dims.{name}") for name in difference.dims]
    fixes = []
    for name, size in difference.dims.items():
        dim = dims[name]
        limit = "" if dim.max is None else f", max = {dim.max}"
        fixes.append(
            f"{name} = {{ min = 2{limit} }}, and for {name} = {size} a model of its own, with "
            f'{size} in place of "{name}" in its shapes'
        )
    return ExportError(
        f"the model does something else at {difference.case}",
        where="\n".join([*places, *dict.fromkeys(lines)]),
        why=f"{difference.text}; one trace serves all sizes of a range, and torch.export supposes "
        "that none is 0 or 1",
        fix="\n".join([*fixes, "or make the model treat that size as any other"]),
    )
