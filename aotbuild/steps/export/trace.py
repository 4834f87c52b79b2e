"""Tracing a model: each of its methods becomes a program, with all that other steps need of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from aotbuild.config.messages import located
from aotbuild.config.resolve import calls, is_program
from aotbuild.config.schema import DeclaredDim
from aotbuild.errors import ExportError, warn
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps
from aotbuild.runtime.dims import Dim, Size
from aotbuild.runtime.manifest import Input
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.spec import ExportSpec
from aotbuild.steps.export.diagnosis import fixed_products
from aotbuild.steps.export.docstrings import method_doc, module_doc
from aotbuild.steps.export.lifted_state import lift_state
from aotbuild.steps.export.method import Method, method_to_trace
from aotbuild.steps.export.module_state import state_of
from aotbuild.steps.export.mutation import refuse_state
from aotbuild.steps.export.outputs import output_tree
from aotbuild.steps.export.saved_program import load_program
from aotbuild.steps.export.shapes_spec import variable_names
from aotbuild.steps.export.small_sizes import Difference, differences, small_size_error
from aotbuild.steps.export.source import build_module
from aotbuild.steps.export.symbolic_sizes import symbolic_sizes
from aotbuild.steps.export.torch_export import Exported, export_method, size_questions
from aotbuild.steps.export.traced import (
    Traced,
    TracedModel,
    inputs_of,
    keep_computed_outputs,
    one_thread,
    reference_outputs,
    refuse_unstorable,
    sizes_of,
)
from aotbuild.steps.export.tracing_errors import fixed_error
from aotbuild.steps.project_code import importing, load_op_libraries
from aotbuild.steps.sizes.ranges import compiled_ranges
from aotbuild.steps.sizes.shapes import dim_names, name_dims, read_dims
from aotbuild.steps.sizes.suppositions import exceptions
from aotbuild.steps.sizes.symbols import dimension_symbols
from aotbuild.steps.torch_parts.exporting import DYNAMIC_STEPS
from aotbuild.steps.torch_parts.moved import where_usable


def trace(spec: ExportSpec) -> TracedModel:
    """Trace the methods of a model.

    Raises:
        AotBuildError: The source, its weights or its inputs are wrong, or torch cannot trace it.
    """
    project = Path(spec.project)
    with (
        importing(spec.import_paths, spec.package),
        torch.no_grad(),
        where_usable(DYNAMIC_STEPS, dynamic_steps),
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
        method_to_trace(spec, name, call, module, original)
        for name, call in calls(spec.declaration).items()
    ]
    methods = lift_state(module, methods)
    initial = {name: t for method in methods for name, t in method.state.initial.items()}
    return TracedModel([*map(_trace_method, methods)], state_of(module), initial)


def _trace_method(method: Method) -> Traced:
    """Trace a method, and again supposing nothing of sizes where it is wrong at 0 or 1."""
    first = _describe(method, export_method(method))
    wrong = _small_differences(first, method.device)
    if not wrong:
        return first
    with contextlib.suppress(ExportError):  # the first trace is the one to tell about
        second = _describe(method, export_method(method, oblivious=True))
        if not _small_differences(second, method.device):
            return second
    raise small_size_error(wrong, first.call.dims, size_questions(method), method.path)


def _small_differences(traced: Traced, device: torch.device) -> list[Difference]:
    return differences(traced.program, traced.call, traced.samples, traced.reference, device)


def _describe(method: Method, exported: Exported) -> Traced:
    """A traced method with all that other steps need of it."""
    program = exported.program
    call = _call_spec(method, exported)
    keep_computed_outputs(program, method.where)
    refuse_unstorable(program, method.where)
    refuse_state(
        lambda: method.flat([tensor.clone() for tensor in method.tensors]),
        dict([*method.flat.named_parameters(), *method.flat.named_buffers()]),
        method.where,
    )
    samples = method.example.samples
    with one_thread():
        reference = reference_outputs(
            *(call, samples, method.eager, method.path, method.project, method.device),
            program=program if method.original is None else None,  # not of a quantised model
        )
    return Traced(method.name, program, call, samples, reference)


def _call_spec(method: Method, exported: Exported) -> CallSpec:
    program, example = exported.program, method.example
    shapes, ranges, sizes = _dims(method, program)
    inputs = inputs_of(example.labels, example.samples.leaves, shapes, method.tensors)
    dims = _smallest_sizes(method, ranges, sizes, inputs)
    _check_products(method, exported, inputs)
    symbols, _ = dimension_symbols(program.graph, inputs)
    return CallSpec(
        inputs=inputs,
        in_spec=example.in_spec,
        outputs=output_tree(program, inputs, method.where),
        dims=dims,
        conditions=compiled_ranges(program.graph, inputs, dims, sizes).conditions,
        example=sizes,
        op_libraries=method.spec.declaration.op_libraries or [],
        exceptions=exceptions(exported.suppositions, symbols, dims, sizes),
        about=module_doc(method.documented),
        doc=method_doc(method.documented, method.name),
        changed=exported.changed,
        buffers=method.state.buffers,
        adds=dict(method.adds),
    )


def _dims(
    method: Method, program: torch.export.ExportedProgram
) -> tuple[list[list[Size]], dict[str, Dim], dict[str, int]]:
    """The shapes of the tensors, the ranges of their dimensions, and the sizes in the example."""
    example = method.example
    if method.call.dynamic_shapes:
        leaves = method.dynamic_shapes
        names = map(variable_names, leaves) if method.shapes_spec else dim_names(leaves)
        shapes, dims = name_dims(program, example.labels, list(names))
        return shapes, dims, sizes_of(shapes, example.tensors)
    shapes, dims = read_dims(program, example.shapes, method.call.dims)
    _warn_static(example.shapes, shapes, method.path)
    return shapes, dims, {dim: example.sizes[dim] for dim in dims}


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
    method: Method,
    dims: Mapping[str, Dim],
    sizes: Mapping[str, int],
    inputs: Sequence[Input],
) -> dict[str, Dim]:
    """Let a range that torch.export found begin with 1 only if the model works with that size."""
    narrowed = dict(dims)
    for name, dim in dims.items():
        declared = method.call.dims.get(name, DeclaredDim(auto=True))
        if not declared.auto or dim.min > 1:
            continue
        smallest = {**sizes, name: dim.min}
        try:
            method.flat(method.example.samples.at(inputs, smallest, method.device))
        except (Exception, SystemExit):  # noqa: BLE001  # whatever it raises, it does not work
            narrowed[name] = Dim(2, dim.max, dim.multiple_of)
    return narrowed


def _check_products(method: Method, exported: Exported, inputs: Sequence[Input]) -> None:
    """Make sure that no product of sizes has to be what it is in the example.

    Raises:
        ExportError: One has to be, and the project does not accept it.
    """
    symbols, _ = dimension_symbols(exported.program.graph, inputs)
    products = fixed_products(exported.recorder, symbols, method.project) if symbols else []
    if not products:
        return
    error = fixed_error(products, method.path)
    if method.spec.declaration.strict_dims is not False:
        raise error
    warn(error.what, where=error.where, why=error.why, fix=error.fix)
