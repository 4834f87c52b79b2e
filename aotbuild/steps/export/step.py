"""Step export: source, weights and inputs become programs, call specs and reference outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.fx.experimental import _config as fx_config

from aotbuild.config.parse import located
from aotbuild.config.resolve import call_path, calls, is_program, named_files
from aotbuild.config.schema import Call, DeclaredDim
from aotbuild.errors import AotBuildError, ExportError, warn
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps
from aotbuild.runtime.dims import Dim, Size
from aotbuild.runtime.manifest import Input
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.eager_program import remove_eager, write_eager
from aotbuild.steps.artifacts.export_weights import Stored, store
from aotbuild.steps.artifacts.facts import facts_of
from aotbuild.steps.artifacts.spec import ExportSpec, read_spec
from aotbuild.steps.artifacts.stamps import write_exported
from aotbuild.steps.export.arguments import as_call
from aotbuild.steps.export.diagnosis import Finding, Recorder, findings, recording
from aotbuild.steps.export.example import Example, example_call
from aotbuild.steps.export.flat_module import Flat
from aotbuild.steps.export.mutation import refuse_mutation, refuse_state
from aotbuild.steps.export.outputs import output_tree
from aotbuild.steps.export.saved_program import load_program
from aotbuild.steps.export.source import (
    FileTracker,
    build_module,
    error_text,
    importing,
    load_op_libraries,
    method_of,
    resolve,
    user_line,
)
from aotbuild.steps.export.traced import (
    Traced,
    TracedModel,
    dense,
    inputs_of,
    keep_computed_outputs,
    reference_outputs,
    refuse_unstorable,
    sizes_of,
)
from aotbuild.steps.export.tracing_errors import export_error, narrower_error, without_dumps
from aotbuild.steps.sizes.ranges import compiled_ranges
from aotbuild.steps.sizes.shapes import dim_names, leaf_dims, name_dims, read_dims, torch_dims


def run(spec_file: Path) -> None:
    """Run the step; the specification is an ``ExportSpec``."""
    spec = read_spec(ExportSpec, spec_file)
    project, output = Path(spec.project), Path(spec.output)
    tracker = FileTracker(project)
    model = trace(spec)
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
    programs = {method.name: method.program for method in model.methods}
    return store(programs, model.state, output)


def trace(spec: ExportSpec) -> TracedModel:
    """Trace the methods of a model.

    Raises:
        AotBuildError: The source, its weights or its inputs are wrong, or torch cannot trace it.
    """
    project = Path(spec.project)
    with importing(spec.import_paths, spec.package), torch.no_grad(), dynamic_steps():
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
    return TracedModel(methods, module.state_dict(keep_vars=True))


def _trace(
    spec: ExportSpec,
    module: torch.nn.Module,
    original: torch.nn.Module | None,
    name: str,
    call: Call,
    project: Path,
) -> Traced:
    path = call_path(spec.name, name)
    where = located(path)
    device = torch.device(spec.device)
    method = method_of(module, name, path)
    example = example_call(method, call, path, project, spec.declaration.dtype, device)
    given = [dense(tensor) for tensor in example.tensors]
    specs = _dynamic_dims(call, example, path, project, module)
    flat = Flat(module, name, example.arguments)
    program = _exported(flat, given, specs, path, example, call.dims, project)
    if call.dynamic_shapes:
        shapes, dims = name_dims(program, example.labels, dim_names(specs))
        sizes = sizes_of(shapes, example.tensors)
    else:
        shapes, dims = read_dims(program, example.shapes, call.dims)
        sizes = {dim: example.sizes[dim] for dim in dims}
        _warn_static(example.shapes, shapes, path)
    inputs = inputs_of(example.labels, example.samples.leaves, shapes, given)
    dims = _smallest_sizes(call, dims, sizes, inputs, example, flat, device)
    spec_of_call = CallSpec(
        inputs=inputs,
        in_spec=example.in_spec,
        outputs=output_tree(program, inputs, where),
        dims=dims,
        conditions=compiled_ranges(program.graph, inputs, dims, sizes).conditions,
        example=sizes,
        op_libraries=spec.declaration.op_libraries or [],
    )
    keep_computed_outputs(program, where)
    eager: list[Callable[[Sequence[torch.Tensor]], Any]] = [flat]
    if original is not None:
        eager.append(Flat(original, name, example.arguments))
    refuse_unstorable(program, where)
    refuse_state(
        lambda: flat([tensor.clone() for tensor in given]),
        dict([*flat.named_parameters(), *flat.named_buffers()]),
        where,
    )
    reference = reference_outputs(spec_of_call, example.samples, eager, path, project, device)
    return Traced(name, program, spec_of_call, example.samples, reference)


def _dynamic_dims(
    call: Call, example: Example, path: str, project: Path, module: torch.nn.Module
) -> list[Any]:
    """The dynamic dimensions of each tensor, as torch.export wants them told."""
    if call.dynamic_shapes is None:
        return torch_dims(example.shapes, call.dims)
    where = located(f"{path}.dynamic-shapes")
    found = resolve(call.dynamic_shapes, f"{path}.dynamic-shapes", project)
    args, kwargs = as_call(example.arguments)
    try:
        if callable(found) and not isinstance(found, type):
            found = found()
        if hasattr(found, "dynamic_shapes"):  # torch.export.ShapesCollection
            found = found.dynamic_shapes(module, args, kwargs)
        values = {argument.name: argument.value for argument in example.arguments}
        return leaf_dims(found, values)
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
) -> torch.export.ExportedProgram:
    # Loops of recurrent layers that were traced before would be mistaken for those of this method.
    torch._dynamo.reset()

    def exported() -> torch.export.ExportedProgram:
        return torch.export.export(
            flat, (tuple(tensors),), dynamic_shapes=(tuple(specs),), strict=False
        )

    def found(recorder: Recorder, *, finished: bool = True) -> list[Finding]:
        return findings(recorder, example.labels, example.shapes, dims, project, finished=finished)

    recorder = Recorder()
    try:
        with without_dumps(), recording() as recorder:
            program = exported()
    except (Exception, SystemExit) as error:
        oblivious = _exported_oblivious(exported, found, error)
        if oblivious is None:
            finished = "Constraints violated" in str(error)
            narrower = narrower_error(found(recorder, finished=finished), path)
            raise narrower or export_error(error, located(path), project) from error
        program = oblivious
    try:
        refuse_mutation(program, located(path), example.labels)
    except AotBuildError:
        raise
    except Exception as error:  # torch takes the program apart for it, and may fail
        raise export_error(error, located(path), project) from error
    return program


def _exported_oblivious(
    exported: Callable[[], torch.export.ExportedProgram],
    found: Callable[[Recorder], list[Finding]],
    error: BaseException,
) -> torch.export.ExportedProgram | None:
    """Trace again without asking whether sizes are 1; None when that does not help either.

    A size that the model derives, as the frames of a signal, may be 1 at a small size that is
    declared; torch supposes that it is not, only to decide on layouts. It can be told not to ask,
    at the price of a copy where it then supposes the worse. The step verify runs both ends.
    """
    config: Any = fx_config
    if "satisfy the generated guard" not in str(error) or not hasattr(
        config, "backed_size_oblivious"
    ):
        return None
    try:
        with without_dumps(), recording() as recorder, config.patch(backed_size_oblivious=True):
            program = exported()
    except (Exception, SystemExit):  # noqa: BLE001  # the first error is the one to tell
        return None
    # What is still assumed of the sizes is the model's own need, and has to be declared.
    return None if found(recorder) else program


def _warn_static(
    declared: Sequence[Sequence[Size]], found: Sequence[Sequence[Size]], path: str
) -> None:
    """Tell which of the dimensions that torch.export should find are none of their own."""
    became = {
        want: size
        for wanted, shape in zip(declared, found, strict=True)
        for want, size in zip(wanted, shape, strict=True)
        if isinstance(want, str) and want != size
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
    flat: Flat,
    device: torch.device,
) -> dict[str, Dim]:
    """Let a range that torch.export found begin with 1 only if the model works with that size."""
    found = dict(dims)
    for name, dim in dims.items():
        declared = call.dims.get(name, DeclaredDim(auto=True))
        if not declared.auto or dim.min > 1:
            continue
        try:
            flat(example.samples.at(inputs, {**sizes, name: dim.min}, device))
        except Exception:  # noqa: BLE001  # whatever it raises, it does not work
            found[name] = Dim(2, dim.max, dim.multiple_of)
    return found
