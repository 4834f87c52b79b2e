"""Step export: source, weights and inputs become programs, call specs and reference outputs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sympy
import torch
from torch.fx.experimental import _config as fx_config
from torch.utils._sympy.functions import TruncToInt

from aotbuild.config.parse import located
from aotbuild.config.resolve import call_path, calls, is_program, named_files
from aotbuild.config.schema import Call, DeclaredDim
from aotbuild.errors import AotBuildError, ExportError, warn
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps
from aotbuild.runtime.dims import Dim, Size
from aotbuild.runtime.manifest import Input
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.eager_program import remove_eager, write_eager
from aotbuild.steps.artifacts.export_weights import MODULE, Stored, store, write_hollow_programs
from aotbuild.steps.artifacts.facts import facts_of
from aotbuild.steps.artifacts.samples import concrete, example_sizes
from aotbuild.steps.artifacts.spec import ExportSpec, read_spec
from aotbuild.steps.artifacts.stamps import write_exported
from aotbuild.steps.export.arguments import as_call
from aotbuild.steps.export.diagnosis import (
    Finding,
    Recorder,
    findings,
    fixed_products,
    recording,
)
from aotbuild.steps.export.docstrings import method_doc, module_doc
from aotbuild.steps.export.example import Example, example_call
from aotbuild.steps.export.flat_module import Flat
from aotbuild.steps.export.module_state import state_of
from aotbuild.steps.export.mutation import refuse_mutation, refuse_state
from aotbuild.steps.export.outputs import output_tree
from aotbuild.steps.export.proposals import tried, without_proposals
from aotbuild.steps.export.saved_program import load_program
from aotbuild.steps.export.small_sizes import (
    Difference,
    differences,
    small_size_error,
)
from aotbuild.steps.export.source import build_module, method_of
from aotbuild.steps.export.symbolic_sizes import symbolic_sizes
from aotbuild.steps.export.traced import (
    Traced,
    TracedModel,
    dense,
    inputs_of,
    keep_computed_outputs,
    one_thread,
    reference_outputs,
    refuse_unstorable,
    sizes_of,
)
from aotbuild.steps.export.traced_lines import recording_lines
from aotbuild.steps.export.tracing_errors import (
    export_error,
    fixed_error,
    narrower_error,
    short_range_error,
    without_dumps,
)
from aotbuild.steps.project_code import (
    FileTracker,
    error_text,
    importing,
    load_op_libraries,
    resolve,
    user_line,
)
from aotbuild.steps.sizes.proofs import proving
from aotbuild.steps.sizes.ranges import compiled_ranges
from aotbuild.steps.sizes.shapes import dim_names, leaf_dims, name_dims, read_dims, torch_dims
from aotbuild.steps.sizes.suppositions import exceptions, supposing
from aotbuild.steps.sizes.symbols import dimension_symbols


def run(spec_file: Path) -> None:
    """Run the step; the specification is an ``ExportSpec``."""
    spec = read_spec(ExportSpec, spec_file)
    project, output = Path(spec.project), Path(spec.output)
    tracker = FileTracker(project)
    model = trace(spec)
    with _located(spec):
        stored = write_programs(model, output)
    for method in model.methods:
        name, program = method.name, method.program
        remove_eager(output / name)
        if spec.declaration.fallback:
            write_eager(program, stored.names[name], output / name, spec.declaration.source)
    # What is not opened by Python, as libraries of operators and safetensors, is not tracked.
    read = tracker.files() + [project / name for name in named_files(spec.declaration)]
    write_exported(output, read)


def write_programs(model: TracedModel, output: Path) -> Stored:
    """Write what the step compile reads, and the weights."""
    for method in model.methods:
        method.write(output / method.name)
        facts_of(method.program).write(output / method.name)
    return store(_programs(model), model.state, output)


def check_writing(model: TracedModel, spec: ExportSpec) -> None:
    """Write what the step writes, but for the weights, and forget it.

    Raises:
        AotBuildError: Something cannot be written.
    """
    with tempfile.TemporaryDirectory() as name, _located(spec):
        output = Path(name)
        for method in model.methods:
            method.write(output / method.name)
            facts_of(method.program).write(output / method.name)
        names = write_hollow_programs(_programs(model), model.state, output)
        if spec.declaration.fallback:
            for method in model.methods:
                write_eager(
                    method.program,
                    names[method.name],
                    output / method.name,
                    spec.declaration.source,
                )


@contextlib.contextmanager
def _located(spec: ExportSpec) -> Iterator[None]:
    """Say of which model a program cannot be written, and its line by its place in the project."""
    try:
        yield
    except ExportError as error:
        line = error.where.removeprefix(f"{Path(spec.project).resolve()}/")
        error.where = f"{located(f'tool.aotbuild.models.{spec.name}')}\n{line}".rstrip()
        raise


def _programs(model: TracedModel) -> dict[str, torch.export.ExportedProgram]:
    return {method.name: method.program for method in model.methods}


def trace(spec: ExportSpec) -> TracedModel:
    """Trace the methods of a model.

    Raises:
        AotBuildError: The source, its weights or its inputs are wrong, or torch cannot trace it.
    """
    project = Path(spec.project)
    with (
        importing(spec.import_paths, spec.package),
        torch.no_grad(),
        dynamic_steps(),
        symbolic_sizes(),
    ):
        load_op_libraries(spec.declaration.op_libraries or [], project)
        if is_program(spec.declaration.source):
            return load_program(spec, project)
        return _trace_methods(spec, project)


def _trace_methods(spec: ExportSpec, project: Path) -> TracedModel:
    device = torch.device(spec.device)
    module = build_module(spec.name, spec.declaration, project, device)
    original = None
    if spec.declaration.quantize:
        from aotbuild.steps.export.quantize import quantized

        original = module
        module = quantized(module, spec.declaration.quantize, spec.name)
    methods = [
        _trace(spec, module, original, name, call, project)
        for name, call in calls(spec.declaration).items()
    ]
    return TracedModel(methods, state_of(module))


def _trace(
    spec: ExportSpec,
    module: torch.nn.Module,
    original: torch.nn.Module | None,
    name: str,
    call: Call,
    project: Path,
) -> Traced:
    path = call_path(spec.name, name)
    device = torch.device(spec.device)
    method = method_of(module, name, path)
    example = example_call(method, call, path, project, spec.declaration.dtype, device)
    given = [dense(tensor) for tensor in example.tensors]
    specs = _dynamic_dims(call, example, path, project, module)
    flat = Flat(module, name, example.arguments)
    eager: list[Callable[[Sequence[torch.Tensor]], Any]] = [flat]
    if original is not None:
        eager.append(Flat(original, name, example.arguments))

    def traced(*, oblivious: bool) -> Traced:
        program, recorder, supposed = _exported(
            flat, given, specs, path, example, call.dims, project, oblivious=oblivious
        )
        return _described(
            program, recorder, supposed, call, spec, name, example, specs, eager, project
        )

    first = traced(oblivious=False)
    wrong = _small_differences(first, device)
    if not wrong:
        return first
    with contextlib.suppress(ExportError):  # the first trace is the one to tell about
        second = traced(oblivious=True)
        if not _small_differences(second, device):
            return second
    asked = _asked(flat, given, specs, example, call.dims, project)
    raise small_size_error(wrong, first.call.dims, asked, path)


def _small_differences(traced: Traced, device: torch.device) -> list[Difference]:
    return differences(traced.program, traced.call, traced.samples, traced.reference, device)


def _described(
    program: torch.export.ExportedProgram,
    recorder: Recorder,
    supposed: Sequence[sympy.Ne],
    call: Call,
    spec: ExportSpec,
    name: str,
    example: Example,
    specs: list[Any],
    eager: list[Callable[[Sequence[torch.Tensor]], Any]],
    project: Path,
) -> Traced:
    """A traced method with all that other steps need of it."""
    path = call_path(spec.name, name)
    where = located(path)
    device = torch.device(spec.device)
    given = [dense(tensor) for tensor in example.tensors]
    if call.dynamic_shapes:
        shapes, dims = name_dims(program, example.labels, dim_names(specs))
        sizes = sizes_of(shapes, example.tensors)
    else:
        shapes, dims = read_dims(program, example.shapes, call.dims)
        sizes = {dim: example.sizes[dim] for dim in dims}
        _warn_static(example.shapes, shapes, path)
    inputs = inputs_of(example.labels, example.samples.leaves, shapes, given)
    dims = _smallest_sizes(call, dims, sizes, inputs, example, eager[0], device)
    _check_products(program, recorder, inputs, spec, path, project)
    symbols, _ = dimension_symbols(program.graph, inputs)
    flat: Any = eager[0]
    last: Any = eager[-1]  # as it was before it was quantised
    documented = last.get_submodule(MODULE)
    spec_of_call = CallSpec(
        inputs=inputs,
        in_spec=example.in_spec,
        outputs=output_tree(program, inputs, where),
        dims=dims,
        conditions=compiled_ranges(program.graph, inputs, dims, sizes).conditions,
        example=sizes,
        op_libraries=spec.declaration.op_libraries or [],
        exceptions=exceptions(supposed, symbols, dims, sizes),
        about=module_doc(documented),
        doc=method_doc(documented, name),
    )
    keep_computed_outputs(program, where)
    refuse_unstorable(program, where)
    refuse_state(
        lambda: flat([tensor.clone() for tensor in given]),
        dict([*flat.named_parameters(), *flat.named_buffers()]),
        where,
    )
    with one_thread():
        reference = reference_outputs(
            *(spec_of_call, example.samples, eager, path, project, device),
            program=program if len(eager) == 1 else None,  # not of a quantised model
        )
    return Traced(name, program, spec_of_call, example.samples, reference)


def _dynamic_dims(
    call: Call, example: Example, path: str, project: Path, module: torch.nn.Module
) -> list[Any]:
    """The dynamic dimensions of each tensor, as torch.export takes them."""
    if call.dynamic_shapes is None:
        return torch_dims(example.shapes, call.dims)
    where = located(f"{path}.dynamic-shapes")
    dynamic_shapes: Any = resolve(call.dynamic_shapes, f"{path}.dynamic-shapes", project)
    args, kwargs = as_call(example.arguments)
    try:
        if callable(dynamic_shapes) and not isinstance(dynamic_shapes, type):
            dynamic_shapes = dynamic_shapes()
        if hasattr(dynamic_shapes, "dynamic_shapes"):  # torch.export.ShapesCollection
            dynamic_shapes = dynamic_shapes.dynamic_shapes(module, args, kwargs)
        values = {argument.name: argument.value for argument in example.arguments}
        return leaf_dims(dynamic_shapes, values)
    except Exception as error:
        line = user_line(error, project)
        raise ExportError(
            "the dynamic shapes do not fit the example",
            where=where + (f"\n{line}" if line else ""),
            why=error_text(error),
            fix="write them as torch.export.export takes them: a dict by the names of the "
            "parameters, each nested as the parameter, with { axis: Dim } for a tensor",
        ) from error


def _exported(
    flat: Flat,
    tensors: list[torch.Tensor],
    specs: list[Any],
    path: str,
    example: Example,
    dims: Mapping[str, DeclaredDim],
    project: Path,
    *,
    oblivious: bool = False,
) -> tuple[torch.export.ExportedProgram, Recorder, Sequence[sympy.Ne]]:
    """The traced program; ``oblivious`` as ``_exported_oblivious`` traces it."""
    # Loops of recurrent layers that were traced before would be mistaken for those of this method.
    torch._dynamo.reset()

    def exported(*, strict: bool = False) -> torch.export.ExportedProgram:
        with recording_lines():
            return torch.export.export(
                flat, (tuple(tensors),), dynamic_shapes=(tuple(specs),), strict=strict
            )

    def found(recorder: Recorder, *, finished: bool = True) -> list[Finding]:
        return findings(recorder, example.labels, example.shapes, dims, project, finished=finished)

    recorder = Recorder()
    supposed: Sequence[sympy.Ne] = []
    try:
        with without_dumps(), proving(), recording() as recorder, _supposing(oblivious=oblivious):
            program = exported()
        # Conditions on several sizes, or ones that are no range, torch.export takes in silence.
        if not oblivious and any(not dims[f.dim.split(", ")[0]].auto for f in found(recorder)):
            other, supposed, again = _exported_supposing(exported, found)
            program, recorder = (other or program), (again if other else recorder)
    except (Exception, SystemExit) as error:
        with proving():
            other, supposed = _exported_otherwise(exported, found, error, recorder)
        if other is None:
            finished = "Constraints violated" in str(error)
            reasons = found(recorder, finished=finished)
            working = tried(
                reasons,
                dims,
                lambda others: _found_of(flat, example, others, project, tensors[0].device),
            )
            # A trace that ended early failed for another reason than the range that was tried.
            known = without_proposals(reasons) if finished else []
            narrower = narrower_error(known if working is None else working, path)
            short = short_range_error(dims, path) if finished else None
            raise narrower or short or export_error(error, located(path), project) from error
        program = other
    try:
        refuse_mutation(program, located(path), example.labels)
    except AotBuildError:
        raise
    except Exception as error:  # torch takes the program apart for it, and may fail
        raise export_error(error, located(path), project) from error
    return program, recorder, supposed


@contextlib.contextmanager
def _supposing(*, oblivious: bool) -> Iterator[None]:
    """Let torch suppose, as it does, that sizes are neither 0 nor 1, or suppose nothing."""
    config: Any = fx_config
    if oblivious and hasattr(config, "backed_size_oblivious"):
        with config.patch(backed_size_oblivious=True):
            yield
    else:
        yield


def _asked(
    flat: Flat,
    tensors: list[torch.Tensor],
    specs: list[Any],
    example: Example,
    dims: Mapping[str, DeclaredDim],
    project: Path,
) -> list[Finding]:
    """What the model asks about sizes when torch supposes nothing of them."""
    with (
        contextlib.suppress(Exception, SystemExit),  # what was asked before counts too
        without_dumps(),
        recording() as recorder,
        _supposing(oblivious=True),
    ):
        torch.export.export(flat, (tuple(tensors),), dynamic_shapes=(tuple(specs),), strict=False)
    return findings(recorder, example.labels, example.shapes, dims, project, least=0)


def _found_of(
    flat: Flat,
    example: Example,
    dims: Mapping[str, DeclaredDim],
    project: Path,
    device: torch.device,
) -> list[Finding] | None:
    """What a trace with other ranges finds; None where it fails for another reason."""
    sizes = example_sizes(dims, {})
    drawn = example.samples.drawn([concrete(shape, sizes) for shape in example.shapes], device)
    specs = torch_dims(example.shapes, dims)

    def exported() -> torch.export.ExportedProgram:
        tensors = tuple(dense(tensor) for tensor in drawn)
        return torch.export.export(flat, (tensors,), dynamic_shapes=(tuple(specs),), strict=False)

    def found(recorder: Recorder, *, finished: bool = True) -> list[Finding]:
        return findings(recorder, example.labels, example.shapes, dims, project, finished=finished)

    recorder = Recorder()
    try:
        with without_dumps(), proving(), recording() as recorder:
            exported()
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever it is, these ranges do not work
        with proving():
            if _exported_otherwise(exported, found, error, recorder)[0] is not None:
                return []
        finished = "Constraints violated" in str(error)
        return found(recorder, finished=finished) or None
    return []


def _check_products(
    program: torch.export.ExportedProgram,
    recorder: Recorder,
    inputs: Sequence[Input],
    spec: ExportSpec,
    path: str,
    project: Path,
) -> None:
    """Make sure that no product of sizes has to be what it is in the example.

    Raises:
        ExportError: One has to be, and the project does not accept it.
    """
    symbols, _ = dimension_symbols(program.graph, inputs)
    found = fixed_products(recorder, symbols, project) if symbols else []
    if not found:
        return
    error = fixed_error(found, path)
    if spec.declaration.strict_dims is not False:
        raise error
    warn(error.what, where=error.where, why=error.why, fix=error.fix)


def _exported_otherwise(
    exported: Callable[..., torch.export.ExportedProgram],
    found: Callable[[Recorder], list[Finding]],
    error: BaseException,
    first: Recorder,
) -> tuple[torch.export.ExportedProgram | None, Sequence[sympy.Ne]]:
    """Trace again where a size that the model derives may be 1, supposing that it is not.

    Args:
        exported: Traces the model.
        found: What a trace shows that the model needs of its sizes.
        error: What the first trace raised.
        first: What the first trace asked about sizes.

    Returns:
        The program, or None, and what it supposes.
    """
    strict = "Constraints violated" in str(error) and any(
        sympy.sympify(guard).has(TruncToInt) for guard, _ in first.guards
    )
    if not strict and "satisfy the generated guard" not in str(error):
        return None, []
    program, supposed, _ = _exported_supposing(exported, found)
    if program is not None:
        return program, supposed
    return _exported_oblivious(exported, found, strict=strict), []


def _exported_supposing(
    exported: Callable[..., torch.export.ExportedProgram],
    found: Callable[[Recorder], list[Finding]],
) -> tuple[torch.export.ExportedProgram | None, Sequence[sympy.Ne], Recorder]:
    """Trace supposing of sizes that the model derives what torch supposes of those of its inputs.

    Returns:
        The program, or None where it works for fewer sizes than declared, what it supposes, and
        what was asked.
    """
    with (
        without_dumps(),
        proving(),
        recording() as recorder,
        supposing(lambda _: True) as supposed,
        contextlib.suppress(Exception, SystemExit),  # the first error is the one to tell
    ):
        program = exported()
        if not found(recorder):
            return program, supposed, recorder
    return None, [], recorder


def _exported_oblivious(
    exported: Callable[..., torch.export.ExportedProgram],
    found: Callable[[Recorder], list[Finding]],
    *,
    strict: bool,
) -> torch.export.ExportedProgram | None:
    """Trace again without asking whether sizes are 1; None when that does not help either.

    A size that the model derives, as the frames of a signal, may be 1 at a small size that is
    declared; torch supposes that it is not, only to decide on layouts. It can be told not to ask,
    at the price of a copy where it then supposes the worse. The step verify runs both ends.

    What fixes a size by ``int()`` of a float that is computed from it does so only where Python
    itself runs the code: reading its bytecode (``strict``), torch knows the function. It then
    tells no lines of what it assumes, and so is asked only where that is the error.
    """
    config: Any = fx_config
    if not hasattr(config, "backed_size_oblivious"):
        return None
    for by_bytecode in (False, True) if strict else (False,):
        try:
            with (
                without_dumps(),
                recording() as recorder,
                config.patch(backed_size_oblivious=True),
            ):
                program = exported(strict=by_bytecode)
        except (Exception, SystemExit):  # noqa: BLE001, S112  # the first error is the one to tell
            continue
        # What is still assumed of the sizes is the model's own need, and has to be declared.
        if not found(recorder):
            return program
    return None


def _warn_static(
    declared: Sequence[Sequence[Size]], traced: Sequence[Sequence[Size]], path: str
) -> None:
    """Tell which of the dimensions that torch.export should find are none of their own."""
    became = {
        name: size
        for names, shape in zip(declared, traced, strict=True)
        for name, size in zip(names, shape, strict=True)
        if isinstance(name, str) and name != size
    }
    for name, size in became.items():
        static = isinstance(size, int)
        warn(
            f"the dimension {name} is static" if static else f"{name} is always {size}",
            where=located(f"{path}.dims.{name}"),
            why="torch.export finds that the model fixes its size"
            if static
            else "torch.export finds that one size follows from the other",
            fix=f"write {size} into the shapes, or make the model independent of it"
            if static
            else f'write "{size}" in place of "{name}"',
        )


def _smallest_sizes(
    call: Call,
    dims: dict[str, Dim],
    sizes: Mapping[str, int],
    inputs: Sequence[Input],
    example: Example,
    flat: Callable[[Sequence[torch.Tensor]], Any],
    device: torch.device,
) -> dict[str, Dim]:
    """Let a range that torch.export found begin with 1 only if the model works with that size."""
    narrowed = dict(dims)
    for name, dim in dims.items():
        declared = call.dims.get(name, DeclaredDim(auto=True))
        if not declared.auto or dim.min > 1:
            continue
        try:
            flat(example.samples.at(inputs, {**sizes, name: dim.min}, device))
        except (Exception, SystemExit):  # noqa: BLE001  # whatever it raises, it does not work
            narrowed[name] = Dim(2, dim.max, dim.multiple_of)
    return narrowed
