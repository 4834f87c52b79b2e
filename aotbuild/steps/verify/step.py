"""Step verify: the compiled model, through the runtime that ships, against the eager outputs."""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from aotbuild.config.parse import located
from aotbuild.config.resolve import call_path, is_library_file, method_label
from aotbuild.config.schema import FORWARD, Tune, Verify
from aotbuild.errors import VerifyError, warn
from aotbuild.runtime.conditions import holds
from aotbuild.runtime.engines import ENGINES
from aotbuild.runtime.manifest import Manifest, SelfTest
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.export_weights import Stored
from aotbuild.steps.artifacts.reference import Case, Reference
from aotbuild.steps.artifacts.samples import Leaf, Samples, verification_sizes
from aotbuild.steps.artifacts.spec import VerifySpec, read_spec
from aotbuild.steps.artifacts.verification import UNVERIFIED, write_report
from aotbuild.steps.export.arguments import call_program, nested_call
from aotbuild.steps.export.quantize import load_operators
from aotbuild.steps.files import scratch
from aotbuild.steps.package.write import Part, write_package
from aotbuild.steps.project_code import (
    FileTracker,
    error_text,
    importing,
    load_op_libraries,
    resolve,
    user_line,
)
from aotbuild.steps.tune.recipes import RECIPES
from aotbuild.steps.verify.compare import Worst, compare, tolerance
from aotbuild.steps.verify.locate import first_difference
from aotbuild.steps.verify.selftest import LARGEST, leaves_of, record_call, size_of
from aotbuild.steps.verify.wide import Noise, WideCall, check_wide
from aotbuild.target import TARGETS

_QUANTIZED = {"int8-dynamic-activation-int8-weight": Verify(rtol=2e-2)}
"""Where rounding of activations can fall to either side, other tolerances than the dtype's."""

_ANY = Verify(rtol=math.inf, atol=math.inf)
"""Where another check decides, differences are only measured."""

_PACKAGE = "aotbuild_verified"


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``VerifySpec``."""
    spec = read_spec(VerifySpec, spec_file)
    output, project = Path(spec.output), Path(spec.project)
    target = TARGETS[spec.target]
    missing = ENGINES[target.device].missing(list(target.requires))
    if missing:
        _leave_unverified(spec, output, f"this machine's CPU lacks {', '.join(missing)}")
        return
    where = located(call_path(spec.model, spec.method))
    exported, compiled = Path(spec.exported), Path(spec.compiled)
    call = CallSpec.read(exported)
    record = BuildRecord.read(compiled)
    tracker = FileTracker(project)
    with importing(spec.import_paths, spec.package), torch.no_grad():
        _load_operators(spec, call, project)
        samples = Samples.read(exported)
        allowed = spec.allowed if RECIPES[record.compiled["recipe"]].precision else None
        comparison = _Comparison(spec, allowed, _accuracy_checks(spec, allowed, project), where)
        with scratch(output.resolve()) as directory:
            part = Part(spec.model, spec.method, spec.source, exported, [(compiled, None)])
            package = directory / _PACKAGE
            (manifest,) = write_package(package, [part], project, Path(spec.engine))
            model = _load(directory, spec, where)
            cases = _cases(spec, call, record, samples, torch.device(target.device))
            wide = [case for case in cases if case.wide is not None]
            cases = [case for case in cases if case.wide is None]
            smallest = _compare_all(model, call, samples, cases, comparison)
            if allowed is None and not isinstance(spec.verify, str):
                _verify_wide(model, wide, samples, spec, call, where)
            if manifest.fallback is not None:
                _verify_fallback(model, package, manifest, samples, cases, spec, where)
    report = _report(cases, comparison)
    if smallest is not None:
        selftest = _record_selftest(output, call, smallest, comparison)
        report["selftest"] = dataclasses.asdict(selftest)
    write_report(output, report, tracker.files())


def _load_operators(spec: VerifySpec, call: CallSpec, project: Path) -> None:
    """Load the operators of modules and of quantisation.

    The package loads its own copies of the shared libraries: registering the operators of one
    twice ends the process.
    """
    modules = [library for library in call.op_libraries if not is_library_file(library)]
    load_op_libraries(modules, project)
    if spec.quantize:
        load_operators()


@dataclass(frozen=True)
class _RecordedCall:
    """The tensors that a call takes, and the leaves of the eager result."""

    tensors: Sequence[torch.Tensor]
    leaves: Sequence[Any]

    @property
    def size(self) -> int:
        """Bytes of both."""
        return size_of([*self.tensors, *self.leaves])


def _compare_all(
    model: Callable[..., Any],
    call: CallSpec,
    samples: Samples,
    cases: Sequence[Case],
    comparison: _Comparison,
) -> _RecordedCall | None:
    """Compare all cases; the smallest one without empty inputs, if it can be shipped.

    Raises:
        VerifyError: The compiled model fails, or its result differs.
    """
    device = torch.device(TARGETS[comparison.spec.target].device)
    smallest = None
    for case in cases:
        tensors = samples.at(call.inputs, case.sizes, device)
        args, kwargs = nested_call(call.in_spec, tensors)
        comparison.add(case, _called(model, args, kwargs, case, comparison.where))
        recorded = _RecordedCall(tensors, case.leaves)
        limit = LARGEST + 1 if smallest is None else smallest.size
        if all(tensor.numel() for tensor in tensors) and recorded.size < limit:
            smallest = recorded
    return smallest


def _record_selftest(
    output: Path, call: CallSpec, recorded: _RecordedCall, comparison: _Comparison
) -> SelfTest:
    """Write the call that tests the package where it is installed."""

    def near(expected: torch.Tensor, leaf: int) -> tuple[float, float]:
        rtol, atol = tolerance(expected, _accepted(comparison.spec, comparison.allowed))
        # Where a check of the project decided, the difference may have been any.
        return rtol, max(atol, 4 * comparison.worst.by_leaf.get(leaf, 0.0))

    return record_call(output, recorded.tensors, call.outputs, recorded.leaves, near)


def _called(
    model: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    case: Case,
    where: str,
) -> Any:
    """The result of the compiled model."""
    try:
        return model(*args, **kwargs)
    except Exception as error:
        raise VerifyError(
            f"the compiled model fails at {case.label}", where=where, why=error_text(error)
        ) from error


def _report(cases: Sequence[Case], comparison: _Comparison) -> dict[str, Any]:
    worst = comparison.worst
    report: dict[str, Any] = {
        "cases": [case.label for case in cases],
        "largest-error": worst.error,
        "relative-error": worst.relative,
        "at": f"{worst.leaf or 'the output'} at {worst.case}" if worst.case else "",
    }
    if comparison.spec.quantize:
        report["quantization-error"] = comparison.quantization.error
    return report


def _leave_unverified(spec: VerifySpec, output: Path, reason: str) -> None:
    """Note that this machine cannot run the library.

    Raises:
        VerifyError: The project requires that it is verified.
    """
    label = method_label(spec.model, spec.method)
    where = located(f"tool.aotbuild.models.{spec.model}.cpu-levels")
    if spec.require_verified:
        raise VerifyError(
            f"{label} cannot be verified for {spec.target} here",
            where=where,
            why=f"{reason}; require-verified = true makes this an error",
            fix="build on a CPU that has it, or leave out that level",
        )
    warn(
        f"{label} is not verified for {spec.target}",
        where=where,
        why=reason,
        fix=f"run python -m {spec.package} on a CPU that has it before you publish the wheel",
    )
    write_report(output, {UNVERIFIED: reason}, [])


def _verify_wide(
    model: Any,
    cases: Sequence[Case],
    samples: Samples,
    spec: VerifySpec,
    call: CallSpec,
    where: str,
) -> None:
    """Call the model with values all over what the declaration allows.

    Raises:
        VerifyError: It differs from the eager model by more than rounding can make it.
    """
    device = torch.device(TARGETS[spec.target].device)

    def program() -> torch.export.ExportedProgram:
        stored = Stored.read(Path(spec.exported).parent)
        return stored.load_program(spec.method, stored.open(), device)

    def noisy(tensors: Sequence[torch.Tensor], seed: int) -> list[Any]:
        loaded = program()
        assert loaded.example_inputs is not None  # noqa: S101
        with (noise := Noise(seed)):
            changed = [noise.changed(tensor) for tensor in tensors]
            results = list(call_program(loaded.module(), loaded.example_inputs, changed))
        return leaves_of(call.outputs, results)

    def locate(tensors: Sequence[torch.Tensor]) -> str:
        target = TARGETS[spec.target]
        return first_difference(program(), tensors, target, Path(spec.project))

    for case in cases:
        changed = {i: Leaf(**fields) for i, fields in (case.wide or {}).items()}
        drawn = samples.with_leaves(changed)
        tensors = drawn.at(call.inputs, case.sizes, device)
        args, kwargs = nested_call(call.in_spec, tensors)
        result = _called(model, args, kwargs, case, where)
        declared = spec.verify if isinstance(spec.verify, Verify) else Verify()
        check_wide(WideCall(case, tensors, result), declared, where, noisy, locate)


def _verify_fallback(
    model: Any,
    package: Path,
    manifest: Manifest,
    samples: Samples,
    cases: Sequence[Case],
    spec: VerifySpec,
    where: str,
) -> None:
    """Run the program that stands in for the compiled code, on the CPU."""
    runtime = importlib.import_module(f"{_PACKAGE}._runtime.fallback")
    cpu = torch.device("cpu")
    try:
        uncompiled = runtime.load_eager(package, manifest, manifest.fallback, "cpu", model._state)  # noqa: SLF001
        model._serve(uncompiled)  # noqa: SLF001
        for case in cases:
            args, kwargs = nested_call(
                manifest.in_spec, samples.at(manifest.inputs, case.sizes, cpu)
            )
            result = model(*args, **kwargs)
            compare(case, case.leaves, result, _compared(spec, None), where, Worst())
    except VerifyError:
        raise
    except Exception as error:
        raise VerifyError(
            "the traced program cannot stand in for the compiled code",
            where=f"{where}.fallback",
            why=error_text(error),
            fix="remove fallback",
        ) from error


@dataclass(frozen=True)
class _Comparison:
    """All that the results have to agree with, and the largest differences so far."""

    spec: VerifySpec
    allowed: Tune | None
    checks: Sequence[Check]
    where: str
    worst: Worst = field(default_factory=Worst)
    quantization: Worst = field(default_factory=Worst)

    def add(self, case: Case, result: Any) -> None:
        """Compare the result of one case.

        Raises:
            VerifyError: It differs, or a check of the project refuses it.
        """
        tolerances = _compared(self.spec, self.allowed)
        compare(case, case.leaves, result, tolerances, self.where, self.worst)
        if case.original is not None:
            declared = self.spec.verify if isinstance(self.spec.verify, Verify) else Verify()
            accepted = declared if declared != Verify() else _ANY
            compare(case, case.original, result, accepted, self.where, self.quantization)
        for check in self.checks:
            check(case, result)


def _accepted(spec: VerifySpec, allowed: Tune | None) -> Verify | float:
    """The tolerances for what compiling may change, and the recipe where it may lose accuracy."""
    if allowed is not None and allowed.max_error is not None:
        return allowed.max_error
    if spec.quantize:  # what quantisation changes is another matter
        return _QUANTIZED.get(spec.quantize, Verify())
    return spec.verify if isinstance(spec.verify, Verify) else Verify()


def _compared(spec: VerifySpec, allowed: Tune | None) -> Verify | float:
    """The tolerances of the comparison: any difference where the project's own check decides."""
    if allowed is not None:
        decided = allowed.max_error is None
    else:
        decided = isinstance(spec.verify, str) and not spec.quantize
    return _ANY if decided else _accepted(spec, allowed)


Check = Callable[[Case, Any], None]


def _accuracy_checks(spec: VerifySpec, allowed: Tune | None, project: Path) -> list[Check]:
    """The project's own functions that accept or refuse a result."""
    path = f"tool.aotbuild.models.{spec.model}"
    checks = []
    if isinstance(spec.verify, str):
        checks.append(_accuracy_check(spec.verify, f"{path}.verify", project))
    if allowed is not None and allowed.check:
        checks.append(_accuracy_check(allowed.check, f"{path}.tune.check", project))
    return checks


def _accuracy_check(name: str, path: str, project: Path) -> Check:
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


def _cases(
    spec: VerifySpec,
    call: CallSpec,
    record: BuildRecord,
    samples: Samples,
    device: torch.device,
) -> list[Case]:
    """The reference cases inside the compiled ranges, and the ends of the narrowed ones."""
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
                cases.append(Case(label, sizes, leaves, exported[0].paths))
    return cases


def _inside(record: BuildRecord, sizes: Mapping[str, int]) -> bool:
    """Whether the compiled code accepts these sizes."""
    return all(sizes[name] in dim for name, dim in record.dims.items()) and all(
        holds(condition, sizes) for condition in record.conditions
    )


def _load(directory: Path, spec: VerifySpec, where: str) -> Callable[..., Any]:
    sys.path.insert(0, str(directory))
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        model: Any = getattr(importlib.import_module(_PACKAGE), spec.model)
    except ImportError as error:
        raise VerifyError(
            "the compiled model cannot be loaded",
            where=where,
            why=str(error).replace(str(directory), ""),
        ) from error
    finally:
        sys.dont_write_bytecode = bytecode
        sys.path.remove(str(directory))
    method: Callable[..., Any] = model if spec.method == FORWARD else getattr(model, spec.method)
    return method
