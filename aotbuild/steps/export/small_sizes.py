"""The sizes 0 and 1: a trace supposes that no size is one of them, and is tried at each.

Most programs serve them all the same. One does not where the model itself asks, as in
``x.squeeze(0)``, or where torch broadcasts along a dimension of size 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aotbuild.config.messages import listed, located
from aotbuild.errors import ExportError
from aotbuild.runtime.dims import Dim
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.program import module_of
from aotbuild.steps.artifacts.reference import Case, Reference, changed_by
from aotbuild.steps.artifacts.samples import Samples
from aotbuild.steps.export.arguments import call_program
from aotbuild.steps.export.diagnosis import Finding
from aotbuild.steps.export.partial_ranges import as_toml
from aotbuild.steps.project_code import error_text

_TOLERANCE = 1e-2
"""Of the largest magnitude: the operators are those of eager torch, only taken apart."""


@dataclass(frozen=True)
class Difference:
    """Where a traced program is not what the model is."""

    case: str
    dims: dict[str, int]
    """The dimensions whose size is 0 or 1 there."""
    text: str


def differences(
    program: torch.export.ExportedProgram,
    call: CallSpec,
    samples: Samples,
    reference: Reference,
    device: torch.device,
) -> list[Difference]:
    """The cases with a size of 0 or 1, inside the program too, in which it gives something else.

    Args:
        program: The program, which returns the flat list of what it computes.
        call: How it is called.
        samples: Its arguments.
        reference: What the model returns.
        device: Where both are.
    """
    if any(_draws(node.target) for node in program.graph.nodes):
        return []  # two runs differ at any size, which the step verify tells
    module = None
    result = []
    for case in reference.cases:
        small = {
            name: size
            for name, size in case.sizes.items()
            if size < 2 or (case.sizes in call.exceptions and size != call.example[name])
        }
        if not small or program.example_inputs is None:
            continue
        shapes = _shapes(call.outputs)
        module = module_of(program) if module is None else module
        tensors = samples.at(call.inputs, case.sizes, device)
        try:
            results = list(call_program(module, program.example_inputs, tensors))
            results += changed_by(call, tensors).values()
        except Exception as error:  # noqa: BLE001  # whatever it is, eager torch does not raise it
            text = f"the traced program fails: {error_text(error)}"
        else:
            text = _difference(results, case, shapes)
        if text:
            result.append(Difference(case.label, small, text))
    return result


def _draws(target: Any) -> bool:
    """Whether an operator draws random numbers."""
    return torch.Tag.nondeterministic_seeded in getattr(target, "tags", ())


def _shapes(tree: Mapping[str, Any]) -> list[list[int | str]]:
    """The shapes of all tensors in an output, sizes as expressions of the dimensions."""
    if tree["type"] == "tensor":
        return [tree["shape"]]
    return [shape for item in tree.get("items", ()) for shape in _shapes(item)]


def _at(shape: Sequence[int | str], case: Case) -> list[int] | None:
    """A shape at the sizes of a case; None where it follows from data."""
    try:
        return [
            size if isinstance(size, int) else int(eval(size, {"math": math, **case.sizes}))  # noqa: S307  # as printed
            for size in shape
        ]
    except Exception:  # noqa: BLE001  # such as the name of a number that is not known yet
        return None


def _difference(
    results: Sequence[object], case: Case, shapes: Sequence[Sequence[int | str]]
) -> str:
    actual = [result for result in results if isinstance(result, torch.Tensor)]
    expected = [leaf for leaf in case.leaves if isinstance(leaf, torch.Tensor)]
    if len(actual) != len(expected):
        return ""  # an output that is a constant is none of the program's
    # An operator such as squeeze follows the sizes that it runs with; compiled code does not.
    known = [_at(shape, case) for shape in shapes] if len(shapes) <= len(actual) else []
    for shape, leaf in zip(known, expected, strict=False):
        if shape is not None and shape != list(leaf.shape):
            return f"the shapes differ: traced {tuple(shape)}, eager {tuple(leaf.shape)}"
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
    wrong: Sequence[Difference],
    dims: Mapping[str, Dim],
    questions: Sequence[Finding],
    path: str,
) -> ExportError:
    """The error for a program that is wrong where a size is 0 or 1.

    Args:
        wrong: Where it is wrong.
        dims: The ranges of the dimensions.
        questions: What the model asks about sizes when torch supposes nothing of them.
        path: Dotted path of the declaration of the call.
    """
    # Where several are small, one of them alone mostly is so too, in a case of its own.
    fewest = min(len(difference.dims) for difference in wrong)
    alone = [difference for difference in wrong if len(difference.dims) == fewest]
    sizes: dict[str, list[int]] = {}
    for difference in alone:
        for name, size in difference.dims.items():
            sizes.setdefault(name, []).append(size)
    lines = [
        line
        for finding in questions
        if set(finding.dim.split(", ")) & set(sizes)
        for line in finding.line.splitlines()
    ]
    places = [located(f"{path}.dims.{name}") for name in sizes]
    fixes = []
    for name, failing in sizes.items():
        numbers = listed(dict.fromkeys(map(str, sorted(failing))))
        fixes.append(
            f"{_without(name, dims[name], max(failing))}, and for {name} = {numbers} a model of "
            f'its own, with the number in place of "{name}" in its shapes'
        )
    cases = listed(dict.fromkeys(difference.case for difference in alone))
    difference = alone[0]
    return ExportError(
        f"the model does something else at {cases}",
        where="\n".join([*places, *dict.fromkeys(lines)]),
        why=f"{difference.text}; one trace serves all sizes of a range, and torch.export supposes "
        "that none is 0 or 1",
        fix="\n".join([*fixes, "or make the model treat that size as any other"]),
    )


def _without(name: str, dim: Dim, largest: int) -> str:
    """The declaration of a dimension without the sizes up to ``largest``."""
    least = dim.multiple_from(largest + 1)
    if dim.max is not None and least >= dim.max:
        return f'write {dim.max} in place of "{name}"'
    return as_toml(name, Dim(least, dim.max, dim.multiple_of))
