"""What torch.export raises, in the terms of the declaration and of the model's own lines."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from aotbuild.config.parse import listed, located
from aotbuild.errors import ExportError, debugging
from aotbuild.steps.export.diagnosis import Finding
from aotbuild.steps.export.source import error_text, user_line

_MESSAGE_LINES = 12
_GENERAL_ADVICE = (
    "For C++",
    "For extended logs",
    "For more",
    "If you suspect",
    "The error above occurred",
)
"""What torch appends to many errors, about logs of its own."""


@contextlib.contextmanager
def without_dumps() -> Iterator[None]:
    """Keep torch from printing the half-traced graph before it raises; the error tells the line."""
    if debugging():
        yield
        return
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield


def narrower_error(found: Sequence[Finding], path: str) -> ExportError | None:
    """The error for dimensions that the model does not leave as they were declared."""
    if not found:
        return None
    names = list(dict.fromkeys(name for finding in found for name in finding.dim.split(", ")))
    lines = list(dict.fromkeys(line for f in found for line in f.line.splitlines()))
    places = [located(f"{path}.dims.{name}") for name in names]
    return ExportError(
        f"the model does not work for every declared size of {listed(names)}",
        where="\n".join([*places, *lines]),
        why="\n".join(finding.found for finding in found),
        fix="\n".join(dict.fromkeys(finding.fix for finding in found)),
    )


def export_error(error: BaseException, where: str, project: Path) -> ExportError:
    """The error for what torch.export raised."""
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
        fix = (
            "the model branches on the value of a tensor: use torch.where or torch.cond, "
            "or move the branch out of forward()"
        )
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
