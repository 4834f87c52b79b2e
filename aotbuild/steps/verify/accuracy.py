"""What results have to agree with: the accepted tolerances, and the project's own checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from aotbuild.config.messages import located
from aotbuild.config.schema import Tune, Verify
from aotbuild.errors import VerifyError
from aotbuild.steps.artifacts.reference import Case
from aotbuild.steps.artifacts.spec import VerifySpec
from aotbuild.steps.project_code import error_text, resolve, user_line
from aotbuild.steps.verify.compare import Worst, compare

_QUANTIZED = {"int8-dynamic-activation-int8-weight": Verify(rtol=2e-2)}
"""Where rounding of activations can fall to either side, other tolerances than the dtype's."""

_ANY = Verify(rtol=math.inf, atol=math.inf)
"""Where another check decides, differences are only measured."""

Check = Callable[[Case, Any], None]
"""Raises a VerifyError if a result of a case is not accepted."""


@dataclass(frozen=True)
class Comparison:
    """All that the results have to agree with, and the largest differences so far."""

    spec: VerifySpec
    allowed: Tune | None
    """What the recipe may lose of accuracy, if it loses any."""
    checks: Sequence[Check]
    where: str
    """Where the model is declared."""
    worst: Worst = field(default_factory=Worst)
    quantization: Worst = field(default_factory=Worst)
    """The largest difference from the model before it was quantised."""

    def add(self, case: Case, result: Any, changed: Mapping[str, torch.Tensor]) -> None:
        """Compare the result of one case.

        Args:
            case: The case.
            result: What the compiled model returned.
            changed: The inputs that the call changed, by their names.

        Raises:
            VerifyError: It differs, or a check of the project refuses it.
        """
        tolerances = compared_tolerances(self.spec, self.allowed)
        compare(case, case.leaves, result, tolerances, self.where, self.worst, changed)
        if case.original is not None:
            declared = declared_tolerances(self.spec)
            accepted = declared if declared != Verify() else _ANY
            compare(case, case.original, result, accepted, self.where, self.quantization, changed)
        for check in self.checks:
            check(case, result)


def declared_tolerances(spec: VerifySpec) -> Verify:
    """The tolerances of the project; the dtype's own where it has none."""
    return spec.verify if isinstance(spec.verify, Verify) else Verify()


def accepted_tolerances(spec: VerifySpec, allowed: Tune | None) -> Verify | float:
    """The tolerances for what compiling may change, and the recipe where it may lose accuracy."""
    if allowed is not None and allowed.max_error is not None:
        return allowed.max_error
    if spec.quantize:  # what quantisation changes is another matter
        return _QUANTIZED.get(spec.quantize, Verify())
    return declared_tolerances(spec)


def compared_tolerances(spec: VerifySpec, allowed: Tune | None) -> Verify | float:
    """The tolerances of the comparison: any difference where the project's own check decides."""
    if allowed is not None:
        decided = allowed.max_error is None
    else:
        decided = isinstance(spec.verify, str) and not spec.quantize
    return _ANY if decided else accepted_tolerances(spec, allowed)


def project_checks(spec: VerifySpec, allowed: Tune | None, project: Path) -> list[Check]:
    """The project's own functions that accept or refuse a result.

    Args:
        spec: Specification of the step.
        allowed: What the recipe may lose of accuracy, if it loses any.
        project: Directory of the project.

    Raises:
        SourceError: One cannot be imported.
    """
    path = f"tool.aotbuild.models.{spec.model}"
    checks = []
    if isinstance(spec.verify, str):
        checks.append(_project_check(spec.verify, f"{path}.verify", project))
    if allowed is not None and allowed.check:
        checks.append(_project_check(allowed.check, f"{path}.tune.check", project))
    return checks


def _project_check(name: str, path: str, project: Path) -> Check:
    """A function of the project that accepts or refuses a result."""
    function = resolve(name, path, project)

    def check(case: Case, result: Any) -> None:
        reference = _like(result, case.leaves if case.original is None else case.original)
        try:
            verdict = function(reference, result)
        except AssertionError as error:
            verdict = str(error) or f"AssertionError at {user_line(error, project)}"
        except Exception as error:
            line = user_line(error, project)
            raise VerifyError(
                f'"{name}" failed at {case.label}',
                where=located(path) + (f"\n{line}" if line else ""),
                why=error_text(error),
                fix="it is called with the eager and the compiled result, and returns None or True "
                "to accept them",
            ) from error
        if verdict is None or verdict is True or (not isinstance(verdict, str) and bool(verdict)):
            return
        raise VerifyError(
            f'"{name}" refuses the compiled model at {case.label}',
            where=located(path),
            why=verdict if isinstance(verdict, str) and verdict else "it returned False",
            fix="the model or the check has to change; the wheel is not built",
        )

    return check


def _like(result: Any, leaves: Sequence[Any]) -> Any:
    """The leaves of an eager result, nested like a compiled one."""
    flat, spec = pytree.tree_flatten(result)
    values = iter(leaves)
    return pytree.tree_unflatten([None if leaf is None else next(values) for leaf in flat], spec)
