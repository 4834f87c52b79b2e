"""torch.export of a method: the call of it, and what is tried where that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.fx.experimental import _config as fx_config
from torch.utils._sympy.functions import TruncToInt

from aotbuild.config.schema import DeclaredDim
from aotbuild.errors import AotBuildError, ExportError
from aotbuild.steps.export.diagnosis import Finding, findings
from aotbuild.steps.export.guards import Recorder, recording
from aotbuild.steps.export.method import Method
from aotbuild.steps.export.mutation import find_changes
from aotbuild.steps.export.proposals import tried, without_proposals
from aotbuild.steps.export.traced_lines import recording_lines
from aotbuild.steps.export.tracing_errors import (
    export_error,
    narrower_error,
    short_range_error,
)
from aotbuild.steps.sizes.proofs import proving
from aotbuild.steps.sizes.suppositions import supposing
from aotbuild.torch_output import without_dumps


@dataclass(frozen=True)
class Exported:
    """A method as torch.export traced it."""

    program: torch.export.ExportedProgram
    recorder: Recorder
    """What the first trace of it asked about sizes."""
    suppositions: Sequence[sympy.Ne]
    """What the trace supposed of sizes that the model derives."""
    changed: list[int]
    """The inputs that it changes."""


def export_method(method: Method, *, oblivious: bool = False) -> Exported:
    """Trace a method, and again in other ways where that fails.

    Args:
        method: The method.
        oblivious: Whether torch shall suppose nothing of the sizes of inputs, where it mostly
            supposes that they are neither 0 nor 1.

    Raises:
        ExportError: torch.export cannot trace it, or the model does not take all declared sizes.
    """
    # Loops of recurrent layers that were traced before would be mistaken for those of this method.
    torch._dynamo.reset()
    recorder = Recorder()
    suppositions: Sequence[sympy.Ne] = []
    try:
        with without_dumps(), proving(), recording() as recorder, _supposing(oblivious=oblivious):
            program = _export(method)
        # Conditions on several sizes, or ones that are no range, torch.export takes in silence.
        if not oblivious and _narrows(method, recorder):
            supposed = _retry_supposing(method)
            if supposed is not None:
                program, suppositions, recorder = supposed
    except (Exception, SystemExit) as error:
        with proving():
            retried = _retry(method, error, recorder)
        if retried is None:
            raise _error(method, error, recorder) from error
        program, suppositions = retried
    try:
        changes = find_changes(program, method.where)
    except AotBuildError:
        raise
    except Exception as error:  # torch takes the program apart for it, and may fail
        raise export_error(error, method.where, method.project) from error
    return Exported(changes.program, recorder, suppositions, changes.inputs)


def size_questions(method: Method) -> list[Finding]:
    """What the model asks about sizes when torch supposes nothing of them."""
    with (
        contextlib.suppress(Exception, SystemExit),  # what was asked before counts too
        without_dumps(),
        recording() as recorder,
        _supposing(oblivious=True),
    ):
        _export(method)
    return _findings(method, recorder, least=0)


def _export(method: Method, *, strict: bool = False) -> torch.export.ExportedProgram:
    method.flat.find_places()
    with recording_lines():
        return torch.export.export(
            method.flat,
            (tuple(method.tensors),),
            dynamic_shapes=method.all_dynamic_shapes,
            strict=strict,
        )


def _findings(
    method: Method, recorder: Recorder, *, finished: bool = True, least: int = 2
) -> list[Finding]:
    """What a trace shows that the model needs of its sizes."""
    labels, shapes = method.example.labels, method.example.shapes
    return findings(
        *(recorder, labels, shapes, method.call.dims, method.project),
        finished=finished,
        least=least,
    )


@contextlib.contextmanager
def _supposing(*, oblivious: bool) -> Iterator[None]:
    """Let torch suppose, as it does, that sizes are neither 0 nor 1, or suppose nothing."""
    config: Any = fx_config
    if oblivious and hasattr(config, "backed_size_oblivious"):
        with config.patch(backed_size_oblivious=True):
            yield
    else:
        yield


def _retry(
    method: Method, error: BaseException, first: Recorder
) -> tuple[torch.export.ExportedProgram, Sequence[sympy.Ne]] | None:
    """Trace again where a size that the model derives may be 1, supposing that it is not.

    Args:
        method: The method.
        error: What the first trace raised.
        first: What the first trace asked about sizes.

    Returns:
        The program and what it supposes; None where that does not help.
    """
    strict = _violates(error) and any(
        sympy.sympify(guard).has(TruncToInt) for guard, _ in first.guards
    )
    if not strict and "satisfy the generated guard" not in str(error):
        return None
    supposed = _retry_supposing(method)
    if supposed is not None:
        return supposed[:2]
    oblivious = _retry_oblivious(method, strict=strict)
    return None if oblivious is None else (oblivious, [])


def _narrows(method: Method, recorder: Recorder) -> bool:
    """Whether the model leaves a declared range, not one to be found, narrower than it is."""
    dims = method.call.dims
    return any(not dims[each.dim.split(", ")[0]].auto for each in _findings(method, recorder))


def _retry_supposing(
    method: Method,
) -> tuple[torch.export.ExportedProgram, Sequence[sympy.Ne], Recorder] | None:
    """Trace supposing of sizes that the model derives what torch supposes of those of its inputs.

    Returns:
        The program, what it supposes, and what was asked; None where it works for fewer sizes than
        declared.
    """
    with (
        without_dumps(),
        proving(),
        recording() as recorder,
        supposing(lambda _: True) as suppositions,
        contextlib.suppress(Exception, SystemExit),  # the first error is the one to tell
    ):
        program = _export(method)
        if not _findings(method, recorder):
            return program, suppositions, recorder
    return None


def _retry_oblivious(method: Method, *, strict: bool) -> torch.export.ExportedProgram | None:
    """Trace again without asking whether sizes are 1; None when that does not help either.

    A size that the model derives, as the frames of a signal, may be 1 at a small size that is
    declared; torch supposes that it is not, only to decide on layouts. It can be told not to ask,
    at the price of a copy where it then supposes the worse. The step verify runs both ends.

    What fixes a size by ``int()`` of a float that is computed from it does so only where Python
    itself runs the code: reading its bytecode (``strict``), torch knows the function. It then
    tells no lines of what it assumes, and so is asked only where that is the error.
    """
    if not hasattr(fx_config, "backed_size_oblivious"):
        return None
    for by_bytecode in (False, True) if strict else (False,):
        try:
            with without_dumps(), recording() as recorder, _supposing(oblivious=True):
                program = _export(method, strict=by_bytecode)
        except (Exception, SystemExit):  # noqa: BLE001, S112  # the first error is the one to tell
            continue
        # What is still assumed of the sizes is the model's own need, and has to be declared.
        if not _findings(method, recorder):
            return program
    return None


def _error(method: Method, error: BaseException, recorder: Recorder) -> ExportError:
    """The error for a method that no way of tracing could trace.

    Args:
        method: The method.
        error: What the first trace raised.
        recorder: What the first trace asked about sizes.
    """
    finished = _violates(error)
    reasons = _findings(method, recorder, finished=finished)
    working = tried(reasons, method.call.dims, lambda dims: _findings_with(method, dims))
    # A trace that ended early failed for another reason than the range that was tried.
    known = without_proposals(reasons) if finished else []
    narrower = narrower_error(known if working is None else working, method.path)
    short = short_range_error(method.call.dims, method.path) if finished else None
    return narrower or short or export_error(error, method.where, method.project)


def _findings_with(method: Method, dims: Mapping[str, DeclaredDim]) -> list[Finding] | None:
    """What a trace with other ranges finds; None where it fails for another reason."""
    narrowed = method.with_dims(dims)
    recorder = Recorder()
    try:
        with without_dumps(), proving(), recording() as recorder:
            _export(narrowed)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, these ranges do not work
        with proving():
            if _retry(narrowed, error, recorder) is not None:
                return []
        return _findings(narrowed, recorder, finished=_violates(error)) or None
    return []


def _violates(error: BaseException) -> bool:
    """Whether a trace came to its end, where torch then found the declared ranges violated."""
    return "Constraints violated" in str(error)
