"""Step verify: the compiled model, through the runtime that ships, against the eager outputs."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aotbuild.build.callspec import CallSpec
from aotbuild.build.examples import example_inputs, verification_sizes
from aotbuild.build.files import scratch, write_depfile, write_text
from aotbuild.build.package import Part, write_package
from aotbuild.build.record import BuildRecord
from aotbuild.build.reference import Case, Reference, flatten_result
from aotbuild.build.source import told
from aotbuild.build.spec import VerifySpec, read_spec
from aotbuild.target import TARGETS
from aotbuild.config.parse import located
from aotbuild.config.schema import Verify
from aotbuild.errors import VerifyError, warn

_TOLERANCES = {
    torch.float64: (1e-7, 1e-9),
    torch.float32: (1e-4, 2e-5),
    torch.float16: (2e-2, 5e-3),
    torch.bfloat16: (5e-2, 2e-2),
    torch.complex64: (1e-4, 2e-5),
    torch.complex128: (1e-7, 1e-9),
}
"""Relative and absolute tolerance by dtype; the absolute one is for outputs of magnitude one."""

_PACKAGE = "aotbuild_verified"


@dataclass
class Worst:
    """The largest difference found so far."""

    error: float = 0.0
    case: str = ""
    leaf: str = ""


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``VerifySpec``."""
    spec = read_spec(VerifySpec, spec_file)
    output = Path(spec.output)
    where = located(f"tool.aotbuild.models.{spec.name}")
    exported, compiled = Path(spec.exported), Path(spec.compiled)
    call = CallSpec.read(exported / "call.json")
    record = BuildRecord.read(compiled / "compiled.json")
    device = torch.device(TARGETS[spec.target].device)
    cases = _cases(spec, call, record, device)
    worst = Worst()
    with scratch(output.resolve()) as directory, torch.no_grad():
        part = Part(spec.name, spec.declaration.source, exported, [(compiled, None)])
        write_package(directory / _PACKAGE, [part])
        model = _load(directory, spec.name, where)
        for case in cases:
            inputs = example_inputs(spec.declaration, case.sizes, device)
            try:
                result = model(**inputs)
            except Exception as error:
                raise VerifyError(
                    f"the compiled model fails at {case.label}", where=where, why=told(error)
                ) from error
            _compare(case, result, spec.declaration.verify, where, worst)
    report = {
        "cases": [case.label for case in cases],
        "largest-error": worst.error,
        "at": f"{worst.leaf or 'the output'} at {worst.case}" if worst.case else "",
    }
    write_depfile(output / "verified.json", [])
    write_text(output / "verified.json", json.dumps(report, indent=1) + "\n")


def _cases(
    spec: VerifySpec, call: CallSpec, record: BuildRecord, device: torch.device
) -> list[Case]:
    """The reference cases inside the compiled ranges, and the ends of the narrowed ones."""
    cases = [
        case
        for case in Reference.read(Path(spec.exported) / "reference.pt").cases
        if all(_inside(record, name, size) for name, size in case.sizes.items())
    ]
    if record.dims != call.dims:
        # The eager module is not here; the exported program, run by eager torch, stands for it.
        program = torch.export.load(Path(spec.exported) / "program.pt2").module()
        paths = cases[0].paths  # that of the example, which is inside every range
        known = [case.sizes for case in cases]
        for label, sizes in verification_sizes(record.dims, call.example).items():
            if sizes not in known:
                inputs = example_inputs(spec.declaration, sizes, device)
                ordered = {entry.name: inputs[entry.name] for entry in call.inputs}
                cases.append(Case(label, sizes, list(program(**ordered)), paths))
    return cases


def _inside(record: BuildRecord, name: str, size: int) -> bool:
    dim = record.dims[name]
    return dim.min <= size and (dim.max is None or size <= dim.max)


def _load(directory: Path, name: str, where: str) -> Callable[..., Any]:
    sys.path.insert(0, str(directory))
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        model: Callable[..., Any] = getattr(importlib.import_module(_PACKAGE), name)
    except ImportError as error:
        raise VerifyError(
            "the compiled model cannot be loaded",
            where=where,
            why=str(error).replace(str(directory), ""),
        ) from error
    finally:
        sys.dont_write_bytecode = bytecode
        sys.path.remove(str(directory))
    return model


def _compare(case: Case, result: Any, verify: Verify, where: str, worst: Worst) -> None:
    leaves, paths = flatten_result(result)
    if paths != case.paths:
        raise VerifyError(
            f"the compiled model returns another structure at {case.label}",
            where=where,
            why=f"compiled: {', '.join(paths)}\neager: {', '.join(case.paths)}",
        )
    for path, actual, expected in zip(paths, leaves, case.leaves, strict=True):
        leaf = path or "the output"
        if not isinstance(expected, torch.Tensor):
            if type(actual) is not type(expected) or actual != expected:
                raise _mismatch(case, leaf, where, f"compiled {actual!r}, eager {expected!r}")
            continue
        if not isinstance(actual, torch.Tensor) or actual.dtype != expected.dtype:
            kind = getattr(actual, "dtype", type(actual).__name__)
            raise _mismatch(case, leaf, where, f"compiled {kind}, eager {expected.dtype}")
        if actual.shape != expected.shape:
            shapes = f"compiled {tuple(actual.shape)}, eager {tuple(expected.shape)}"
            raise _mismatch(case, leaf, where, f"the shapes differ: {shapes}")
        _compare_values(case, leaf, actual.cpu(), expected.cpu(), verify, where, worst)


def _compare_values(
    case: Case,
    leaf: str,
    actual: torch.Tensor,
    expected: torch.Tensor,
    verify: Verify,
    where: str,
    worst: Worst,
) -> None:
    if expected.numel() == 0:
        return
    rtol, atol = _TOLERANCES.get(expected.dtype, (0.0, 0.0))
    wide = torch.complex128 if expected.is_complex() else torch.float64
    exact = expected.to(wide)
    finite = exact[torch.isfinite(exact)].abs()
    atol *= float(finite.max()) if finite.numel() else 1.0
    rtol = rtol if verify.rtol is None else verify.rtol
    atol = atol if verify.atol is None else verify.atol
    undefined = torch.isnan(expected)
    if undefined.sum() * 2 > undefined.numel():
        warn(
            f"most of {leaf} at {case.label} is not a number in the eager model",
            where=where,
            why=f"{int(undefined.sum())} of {undefined.numel()} elements are not compared",
            fix="example inputs are random; a mask that hides everything gives such results",
        )
    # Where eager has no number, as behind a mask that hides a whole row, none can be wrong.
    equal = undefined | (actual == expected)
    difference = torch.where(equal, 0.0, (actual.to(wide) - exact).abs())
    difference = torch.nan_to_num(difference, nan=float("inf"))
    wrong = difference > atol + rtol * exact.abs().nan_to_num(nan=0.0, posinf=0.0)
    largest = float(difference.max())
    if largest >= worst.error:
        worst.error, worst.case, worst.leaf = largest, case.label, leaf
    if wrong.any():
        position = torch.unravel_index(difference.argmax(), difference.shape)
        index = [int(i) for i in position]
        raise _mismatch(
            case,
            leaf,
            where,
            f"{int(wrong.sum())} of {wrong.numel()} elements differ; the largest difference is "
            f"{largest:.3g} at {index}: compiled {actual[tuple(index)].item():.6g}, "
            f"eager {expected[tuple(index)].item():.6g} (rtol {rtol:.3g}, atol {atol:.3g})",
        )


def _mismatch(case: Case, leaf: str, where: str, why: str) -> VerifyError:
    return VerifyError(
        f"the compiled model gives another result than the eager one for {leaf} at {case.label}",
        where=where,
        why=why,
        fix="a model that draws random numbers cannot be verified; if the difference is "
        "acceptable, allow it with verify = { rtol = ..., atol = ... }",
    )
