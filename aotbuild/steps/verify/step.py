"""Step verify: the compiled model, through the runtime that ships, against the eager outputs."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from aotbuild.config.messages import located
from aotbuild.config.resolve import call_path, is_library_file, method_label
from aotbuild.config.schema import FORWARD
from aotbuild.errors import VerifyError, warn
from aotbuild.runtime.engines import ENGINES
from aotbuild.runtime.manifest import Manifest, SelfTest
from aotbuild.steps.artifacts.build_record import BuildRecord
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.export_weights import Stored
from aotbuild.steps.artifacts.reference import Case, changed_by
from aotbuild.steps.artifacts.samples import Leaf, Samples
from aotbuild.steps.artifacts.spec import VerifySpec, read_spec
from aotbuild.steps.artifacts.verification import UNVERIFIED, write_report
from aotbuild.steps.export.arguments import call_program, nested_call
from aotbuild.steps.export.quantize import load_operators
from aotbuild.steps.files import scratch
from aotbuild.steps.package.parts import Part
from aotbuild.steps.package.write import write_package
from aotbuild.steps.project_code import FileTracker, error_text, importing, load_op_libraries
from aotbuild.steps.tune.recipes import RECIPES
from aotbuild.steps.verify.accuracy import (
    Comparison,
    accepted_tolerances,
    compared_tolerances,
    declared_tolerances,
    project_checks,
)
from aotbuild.steps.verify.cases import cases_to_verify
from aotbuild.steps.verify.compare import Worst, compare, tolerance
from aotbuild.steps.verify.emulated import emulate, emulator_for
from aotbuild.steps.verify.selftest import LARGEST, leaves_of, record_call, size_of
from aotbuild.steps.verify.wide import Noise, WideCall, check_wide
from aotbuild.target import TARGETS

_PACKAGE = "aotbuild_verified"


def run(spec_file: Path) -> None:
    """Run the step; the specification is a ``VerifySpec``."""
    spec = read_spec(VerifySpec, spec_file)
    output, project = Path(spec.output), Path(spec.project)
    target = TARGETS[spec.target]
    if target.cross:
        if not emulator_for(target):
            reason = f"nothing here runs {target.cross}: qemu-{target.cross} is not installed"
            _leave_unverified(spec, output, reason)
            return
        label = method_label(spec.model, spec.method)
        sys.stdout.write(f"aotbuild: {label} runs in qemu-{target.cross}\n")
    elif missing := ENGINES[target.device].missing(list(target.requires)):
        _leave_unverified(spec, output, f"this machine's CPU lacks {', '.join(missing)}")
        return
    call, record = CallSpec.read(Path(spec.exported)), BuildRecord.read(Path(spec.compiled))
    tracker = FileTracker(project)
    with importing(spec.import_paths, spec.package), torch.no_grad():
        report = _verify(spec, call, record)
    write_report(output, report, tracker.files())


def _verify(spec: VerifySpec, call: CallSpec, record: BuildRecord) -> dict[str, Any]:
    """Verify a library, record a call that tests it later, and report.

    Raises:
        VerifyError: It does not give what the eager model gives.
    """
    output, project = Path(spec.output), Path(spec.project)
    exported, compiled = Path(spec.exported), Path(spec.compiled)
    where = located(call_path(spec.model, spec.method))
    _load_operators(spec, call, project)
    samples = Samples.read(exported)
    allowed = spec.allowed if RECIPES[record.compiled["recipe"]].precision else None
    comparison = Comparison(spec, allowed, project_checks(spec, allowed, project), where)
    with scratch(output.resolve()) as directory:
        part = Part(spec.model, spec.method, spec.source, exported, [(compiled, None)])
        package = directory / _PACKAGE
        (manifest,) = write_package(package, [part], project, Path(spec.engine))
        model = _Model(spec, call, samples, where, _load(directory, spec, where))
        cases = cases_to_verify(spec, call, record, samples, model.device)
        wide = [case for case in cases if case.wide is not None]
        cases = [case for case in cases if case.wide is None]
        smallest = _compare_all(model, cases, comparison)
        if allowed is None and not isinstance(spec.verify, str):
            _verify_wide(model, wide)
        if manifest.fallback is not None:
            _verify_fallback(model, package, manifest, cases)
    report = _report(cases, comparison)
    if smallest is not None:
        selftest = _record_selftest(output, call, smallest, comparison)
        report["selftest"] = dataclasses.asdict(selftest)
    return report


@dataclass(frozen=True)
class _Model:
    """The compiled model, through the runtime."""

    spec: VerifySpec
    call: CallSpec
    samples: Samples
    where: str
    """Where it is declared."""
    method: Any

    @property
    def device(self) -> torch.device:
        """Where its arguments are."""
        return torch.device(TARGETS[self.spec.target].device)

    def result(self, case: Case, tensors: Sequence[torch.Tensor]) -> Any:
        """What it returns for these tensors.

        Raises:
            VerifyError: It fails.
        """
        args, kwargs = nested_call(self.call.in_spec, tensors)
        try:
            return self.method(*args, **kwargs)
        except Exception as error:
            raise VerifyError(
                f"the compiled model fails at {case.label}",
                where=self.where,
                why=error_text(error),
            ) from error


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
    model: _Model, cases: Sequence[Case], comparison: Comparison
) -> _RecordedCall | None:
    """Compare all cases; the smallest one without empty inputs, if it can be shipped.

    Raises:
        VerifyError: The compiled model fails, or its result differs.
    """
    smallest = None
    for case in cases:
        drawn = model.samples.at(model.call.inputs, case.sizes, model.device)
        tensors = case.arguments(drawn)
        before = [tensor.clone() for tensor in tensors] if model.call.changed else tensors
        result = model.result(case, tensors)
        comparison.add(case, result, changed_by(model.call, tensors))
        recorded = _RecordedCall(before, case.leaves)
        limit = LARGEST + 1 if smallest is None else smallest.size
        if all(tensor.numel() for tensor in tensors) and recorded.size < limit:
            smallest = recorded
    return smallest


def _record_selftest(
    output: Path, call: CallSpec, recorded: _RecordedCall, comparison: Comparison
) -> SelfTest:
    """Write the call that tests the package where it is installed."""
    accepted = accepted_tolerances(comparison.spec, comparison.allowed)

    def near(expected: torch.Tensor, leaf: int) -> tuple[float, float]:
        rtol, atol = tolerance(expected, accepted)
        # Where a check of the project decided, the difference may have been any.
        return rtol, max(atol, 4 * comparison.worst.by_leaf.get(leaf, 0.0))

    return record_call(output, recorded.tensors, call.outputs, recorded.leaves, near)


def _report(cases: Sequence[Case], comparison: Comparison) -> dict[str, Any]:
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
            fix=f"{_by_emulator(spec)}build on a CPU that has it, or leave out that level",
        )
    warn(
        f"{label} is not verified for {spec.target}",
        where=where,
        why=reason,
        fix=f"{_by_emulator(spec)}run python -m {spec.package} on a CPU that has it before you "
        "publish the wheel",
    )
    write_report(output, {UNVERIFIED: reason}, [])


def _by_emulator(spec: VerifySpec) -> str:
    """What to do first about a library of another architecture."""
    return "install qemu-user (Debian: apt-get install qemu-user), or " * bool(
        TARGETS[spec.target].cross
    )


def _verify_wide(model: _Model, cases: Sequence[Case]) -> None:
    """Call the model with values all over what the declaration allows.

    Raises:
        VerifyError: It differs from the eager model by more than rounding can make it.
    """
    spec, call = model.spec, model.call

    def program() -> torch.export.ExportedProgram:
        stored = Stored.read(Path(spec.exported).parent)
        return stored.load_program(spec.method, stored.open(), model.device)

    def noisy(tensors: Sequence[torch.Tensor], seed: int) -> list[Any]:
        loaded = program()
        assert loaded.example_inputs is not None  # noqa: S101
        with (noise := Noise(seed)):
            changed = [noise.changed(tensor) for tensor in tensors]
            results = list(call_program(loaded.module(), loaded.example_inputs, changed))
        return leaves_of(call.outputs, results)

    def locate(tensors: Sequence[torch.Tensor]) -> str:
        from aotbuild.steps.verify.locate import first_difference  # imports torch's compiler

        target = TARGETS[spec.target]
        return first_difference(program(), tensors, target, Path(spec.project))

    for case in cases:
        changed = {i: Leaf(**fields) for i, fields in (case.wide or {}).items()}
        drawn = model.samples.with_leaves(changed)
        tensors = drawn.at(call.inputs, case.sizes, model.device)
        wide = WideCall(case, tensors, model.result(case, tensors))
        check_wide(wide, declared_tolerances(spec), model.where, noisy, locate)


def _verify_fallback(
    model: _Model, package: Path, manifest: Manifest, cases: Sequence[Case]
) -> None:
    """Run the program that stands in for the compiled code, on the CPU."""
    runtime = importlib.import_module(f"{_PACKAGE}._runtime.fallback")
    cpu = torch.device("cpu")
    method, tolerances = model.method, compared_tolerances(model.spec, None)
    try:
        uncompiled = runtime.load_eager(package, manifest, manifest.fallback, "cpu", method._state)  # noqa: SLF001
        method._serve(uncompiled)  # noqa: SLF001
        for case in cases:
            tensors = case.arguments(model.samples.at(manifest.inputs, case.sizes, cpu))
            args, kwargs = nested_call(manifest.in_spec, tensors)
            result = method(*args, **kwargs)
            changed = changed_by(model.call, tensors)
            compare(case, case.leaves, result, tolerances, model.where, Worst(), changed)
    except VerifyError:
        raise
    except Exception as error:
        raise VerifyError(
            "the traced program cannot stand in for the compiled code",
            where=f"{model.where}.fallback",
            why=error_text(error),
            fix="remove fallback",
        ) from error


def _load(directory: Path, spec: VerifySpec, where: str) -> Any:
    sys.path.insert(0, str(directory))
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        if TARGETS[spec.target].cross:
            emulate(_PACKAGE, TARGETS[spec.target], directory)
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
    return model if spec.method == FORWARD else getattr(model, spec.method)
