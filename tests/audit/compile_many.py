"""Many operators compiled at once, each as a kernel of its own."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from compiled import compiled
from grids import finite_rows, pairs, rows, unary
from operators import LINEAR, Operator
from torch._subclasses.fake_tensor import FakeTensorMode

Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Case:
    """An operator, and what it is called with."""

    operator: Operator
    inputs: Inputs
    label: str
    """What the inputs are like."""

    @property
    def dtype(self) -> str:
        """Of the inputs."""
        return str(self.inputs[0].dtype).removeprefix("torch.")


def cases(operators: Sequence[Operator], dtype: torch.dtype) -> list[Case]:
    """The operators that eager torch has for a type, each with all inputs of the audit."""
    found = []
    for operator in operators:
        given: dict[str, Inputs]
        if operator.kind == "rows":
            given = {name: (x,) for name, x in rows(dtype).items()}
        elif operator.kind == "linear":
            # The passes have code of their own for float32 alone.
            given = {"": (finite_rows(dtype, LINEAR),)} if dtype is torch.float32 else {}
        else:
            given = {"": (unary(dtype),) if operator.kind == "unary" else pairs(dtype)}
        for label, inputs in given.items():
            case = Case(operator, inputs, label)
            if eager(case) is not None and _is_traced(case):
                found.append(case)
    return found


def _is_traced(case: Case) -> bool:
    """Whether torch can trace it: it refuses shifts of truth values, which eager torch takes."""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        inputs = tuple(mode.from_tensor(each) for each in case.inputs)
        return eager(Case(case.operator, inputs, case.label)) is not None


def eager(case: Case) -> torch.Tensor | None:
    """What eager torch gives; None where it has no such operator for the type."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return case.operator.run(*case.inputs)
    except (RuntimeError, NotImplementedError, TypeError, IndexError):
        return None


class _Many(torch.nn.Module):
    def __init__(self, cases: Sequence[Case], places: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self._cases, self._places = cases, places

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        return [
            case.operator.run(*(inputs[i] for i in place))
            for case, place in zip(self._cases, self._places, strict=True)
        ]


def results(
    cases: Sequence[Case], target: str, *, exact: bool = True, fuse: bool = False
) -> list[torch.Tensor]:
    """What compiled code gives.

    Args:
        cases: All are compiled into one library.
        target: The target's name.
        exact: Whether with aotbuild's own code in place of Inductor's where that is inexact.
        fuse: Whether operators may share kernels.
    """
    places: list[tuple[int, ...]] = []
    known: dict[int, int] = {}
    given: list[torch.Tensor] = []
    for case in cases:
        for each in case.inputs:
            if id(each) not in known:
                known[id(each)] = len(given)
                given.append(each)
        places.append(tuple(known[id(each)] for each in case.inputs))
    # A kernel that has an operator without vectors may have none at all: each gets its own.
    options: dict[str, Any] = (
        {} if fuse else {"max_fusion_size": 1, "cpp.max_horizontal_fusion_size": 1}
    )
    with tempfile.TemporaryDirectory() as directory:
        with stock() if not exact else contextlib.nullcontext():
            call, _ = compiled(
                _Many(cases, places), given, Path(directory), target=target, options=options
            )
        return [each.clone() for each in call(*given)]


@contextlib.contextmanager
def stock() -> Iterator[None]:
    """Let Inductor decompose operators, and generate code, by itself."""
    with (
        patch("aotbuild.steps.compile.inductor.exact_functions", contextlib.nullcontext),
        patch("aotbuild.passes.numerics.rewrite.run", lambda _: 0),
    ):
        yield
