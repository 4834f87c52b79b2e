"""What torch.export raises, in the terms of the declaration and of the model's own lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from aotbuild.config.messages import listed, located
from aotbuild.config.schema import DeclaredDim
from aotbuild.errors import ExportError
from aotbuild.steps.export.diagnosis import Finding
from aotbuild.steps.project_code import error_text, user_line
from aotbuild.steps.sizes.shapes import is_short

_MESSAGE_LINES = 12
_GENERAL_ADVICE = (
    "For C++",
    "For extended logs",
    "For more",
    "If you suspect",
    "The error above occurred",
)
"""What torch appends to many errors, about logs of its own."""


def narrower_error(findings: Sequence[Finding], path: str) -> ExportError | None:
    """The error for dimensions that the model does not leave as they were declared."""
    if not findings:
        return None
    names = list(dict.fromkeys(name for finding in findings for name in finding.dim.split(", ")))
    lines = list(dict.fromkeys(line for f in findings for line in f.line.splitlines()))
    places = [located(f"{path}.dims.{name}") for name in names]
    return ExportError(
        f"the model does not work for every declared size of {listed(names)}",
        where="\n".join([*places, *lines]),
        why="\n".join(finding.text for finding in findings),
        fix="\n".join(dict.fromkeys(finding.fix for finding in findings)),
    )


def fixed_error(findings: Sequence[Finding], path: str) -> ExportError:
    """The error for products of sizes that the model fixes, which torch.export lets it do."""
    error = narrower_error(findings, path)
    assert error is not None  # noqa: S101
    error.fix += "\nor accept that every other size is refused at run time: strict-dims = false"
    return error


def short_range_error(dims: Mapping[str, DeclaredDim], path: str) -> ExportError | None:
    """The error where ranges are too short to trace alone, and torch finds the model fixes a size.

    Args:
        dims: The declared dimensions.
        path: Dotted path of the declaration of the call.
    """
    short = [name for name, dim in dims.items() if not dim.auto and is_short(dim)]
    if not short:
        return None
    return ExportError(
        f"the model cannot be traced for the declared sizes of {listed(short)}",
        where="\n".join(located(f"{path}.dims.{name}") for name in short),
        why="torch.export supposes neither 0 nor 1, and traces two other sizes at least; a range "
        "that has fewer is traced beyond its end, where this model fails",
        fix="let the model work for the next size too, or declare a model for each size: write the "
        "number in place of the name",
    )


_CHECK = re.compile(r"^ +\d+\. (torch\._check\(.*\))$", re.MULTILINE)
"""What torch proposes where it has to know something of a size or number that follows from data."""


def _data_dependent_fix(text: str) -> str:
    """What to do where torch asks something that depends on the values of tensors."""
    branch = (
        "the model branches on the value of a tensor: use torch.where or torch.cond, or move the "
        "branch out of forward()"
    )
    checks = _CHECK.findall(text)
    # Of two, that a size is one number is hardly what is meant.
    checks = [check for check in checks if " == " not in check] or checks
    if checks:
        return (
            f"write {' or '.join(checks)} before that line, if it holds for every input\n"
            f"or, where it does not: {branch}"
        )
    if "Size-like symbols: u" in text:
        return (
            f"{branch}; where the answer is the same for every input, tell torch before that line, "
            "as in torch._check(x.shape[0] > 1)"
        )
    return branch


def export_error(error: BaseException, where: str, project: Path) -> ExportError:
    """The error for what torch.export raised.

    Args:
        error: The exception of torch.export.
        where: Place of the model's declaration.
        project: Directory of the project; the message shows the line of it that failed.

    Returns:
        An error with the first lines of torch's message and a fix for its kind of failure.
    """
    lines = [
        line
        for line in error_text(error).splitlines()
        if line.strip() and not line.lstrip().startswith(_GENERAL_ADVICE)
    ]
    shown = "\n".join(lines[:_MESSAGE_LINES]) + ("\n..." if len(lines) > _MESSAGE_LINES else "")
    line = user_line(error, project)
    text = str(error)
    if "Constraints violated" in text or "specialized" in text.lower():
        fix = (
            "the model fixes the size of a dimension that is declared dynamic: make that code "
            "independent of the size, or write the size into the shape of the input"
        )
    elif "data-dependent" in text or "GuardOnDataDependent" in type(error).__name__:
        fix = _data_dependent_fix(text)
    elif isinstance(error, RecursionError):
        fix = "return less deeply nested lists and dicts, and call no function without an end"
    elif isinstance(error, SystemExit):
        fix = "raise an error in place of ending the process"
    elif "fake tensor in the exported program" in text:
        fix = (
            "keep no tensor of a call for the next one: pass it as an input and return the new one"
        )
    elif "not a known type" in text or "unsupported type" in text.lower():
        fix = (
            "return tensors in tuples, lists and dicts: let the source be a factory of a module "
            "that takes the object apart, such as [(layer.keys, layer.values) for layer in "
            "cache.layers]"
        )
    else:
        fix = (
            "torch.export traces forward() without running Python at the user's site: replace "
            "what it cannot trace (branches on values, numpy, .item(), custom classes), "
            "or correct the declared inputs"
        )
    return ExportError(
        "torch.export cannot trace the model",
        where=where + (f"\n{line}" if line else ""),
        why=shown,
        fix=fix,
    )
