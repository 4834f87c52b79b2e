"""Step export: source, weights and inputs become a program, a call spec and reference outputs."""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument
from torch.utils import _pytree as pytree

from aotbuild.build.callspec import CallSpec
from aotbuild.build.examples import (
    example_inputs,
    example_sizes,
    input_bytes,
    verification_sizes,
)
from aotbuild.build.files import replacing, write_depfile
from aotbuild.build.outputs import output_tree
from aotbuild.build.reference import Case, Reference, flatten_result
from aotbuild.build.source import FileTracker, build_module, importing, told, user_line
from aotbuild.build.spec import ExportSpec, read_spec
from aotbuild.config.inputs import constant_value, map_tensors, tensor_leaves
from aotbuild.config.parse import did_you_mean, listed, located
from aotbuild.config.schema import ConstantInput, Model, TensorInput
from aotbuild.errors import ConfigError, ExportError, debugging, warn
from aotbuild.runtime.manifest import Dim, Input

_MESSAGE_LINES = 12
_GENERAL_ADVICE = (
    "For C++",
    "For extended logs",
    "For more",
    "If you suspect",
    "The error above occurred",
)
"""What torch appends to many errors, about logs of its own."""
_LARGEST_INPUTS = 1 << 30


def run(spec_file: Path) -> None:
    """Run the step; the specification is an ``ExportSpec``."""
    spec = read_spec(ExportSpec, spec_file)
    project = Path(spec.project)
    output = Path(spec.output)
    tracker = FileTracker(project)
    device = torch.device(spec.device)
    with importing(spec.import_paths, spec.package), torch.no_grad():
        module = build_module(spec.name, spec.declaration, project, device)
        parameters = _parameters(module, spec.declaration, spec.name)
        program = _export(module, spec, parameters, project, device)
        reference = _reference(module, spec, project, device)
    call = _call_spec(program, spec, parameters)
    _keep_computed_outputs(program)

    reference.write(output / "reference.pt")
    with replacing(output / "program.pt2") as temporary:
        # The file must end in .pt2 for torch to write it without a warning.
        archive = temporary.with_suffix(".pt2")
        torch.export.save(program, archive)
        archive.replace(temporary)
    read = tracker.files()
    if spec.declaration.weights:
        read.append(project / spec.declaration.weights)
    write_depfile(output / "call.json", read)
    call.write(output / "call.json")


def _parameters(module: torch.nn.Module, model: Model, name: str) -> list[inspect.Parameter]:
    """The parameters of forward() that have an input, in forward()'s order."""
    path = f"tool.aotbuild.models.{name}.inputs"
    signature = inspect.signature(module.forward)
    by_name = {
        parameter.name: parameter
        for parameter in signature.parameters.values()
        if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}
    }
    for given in model.inputs:
        if given not in by_name:
            raise ConfigError(
                f'forward() has no parameter "{given}"',
                where=located(f"{path}.{given}"),
                fix=did_you_mean(given, by_name)
                or f"its parameters are: {listed(by_name) or 'none'}",
            )
    for parameter in signature.parameters.values():
        variadic = parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        if variadic or parameter.default is not parameter.empty:
            continue
        if parameter.name not in model.inputs:
            raise ConfigError(
                f'the parameter "{parameter.name}" of forward() has no input',
                where=located(path),
                why=f"forward{signature} requires it",
                fix=f'add {parameter.name} = {{ shape = [...], dtype = "float32" }}',
            )
    parameters = []
    omitted = False
    for parameter in by_name.values():
        if parameter.name not in model.inputs:
            omitted = True
        elif omitted:
            # Behind a parameter that is left out, positions would mean something else.
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
        else:
            parameters.append(parameter)
    return parameters


def _export(
    module: torch.nn.Module,
    spec: ExportSpec,
    parameters: list[inspect.Parameter],
    project: Path,
    device: torch.device,
) -> torch.export.ExportedProgram:
    model = spec.declaration
    where = located(f"tool.aotbuild.models.{spec.name}")
    examples = example_inputs(model, example_sizes(model.dims), device)
    arguments = {parameter.name: examples[parameter.name] for parameter in parameters}
    try:
        with _without_dumps():
            program = torch.export.export(
                module, (), arguments, dynamic_shapes=_dynamic_shapes(model, list(arguments))
            )
    except Exception as error:
        raise _export_error(error, where, project) from error
    _refuse_mutation(program, where)
    return program


@contextlib.contextmanager
def _without_dumps() -> Iterator[None]:
    """Keep torch from printing the half-traced graph before it raises; the error tells the line."""
    if debugging():
        yield
        return
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield


def _refuse_mutation(program: torch.export.ExportedProgram, where: str) -> None:
    # The exported graph keeps in-place operators; only without them does its signature tell
    # what they changed.
    signature = program.run_decompositions({}).graph_signature
    buffers = sorted(signature.buffers_to_mutate.values())
    if buffers:
        raise ExportError(
            f"forward() changes {'the buffer' if len(buffers) == 1 else 'buffers'} "
            f"{listed(buffers)}",
            where=where,
            why="a compiled model is shared by all its callers and keeps no state between calls",
            fix="pass the state as an input and return the new one, or switch the update off "
            "in eval mode",
        )
    changed = sorted(signature.user_inputs_to_mutate.values())
    if changed:
        raise ExportError(
            f"forward() changes its {'input' if len(changed) == 1 else 'inputs'} {listed(changed)}",
            where=where,
            why="a compiled model may work on a copy of an input, where the change is lost",
            fix=f"work on {changed[0]}.clone() and return the result",
        )


def _dynamic_shapes(model: Model, names: list[str]) -> dict[str, Any]:
    dims = {
        name: torch.export.Dim(name, min=dim.min, max=dim.max) for name, dim in model.dims.items()
    }

    def dynamic(spec: TensorInput) -> dict[int, Any]:
        return {i: dims[size] for i, size in enumerate(spec.shape) if isinstance(size, str)}

    return {name: map_tensors(model.inputs[name], dynamic, None) for name in names}


def _export_error(error: Exception, where: str, project: Path) -> ExportError:
    lines = [
        line
        for line in told(error).splitlines()
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


def _reference(
    module: torch.nn.Module, spec: ExportSpec, project: Path, device: torch.device
) -> Reference:
    """What the eager model returns at the sizes to verify."""
    model = spec.declaration
    where = located(f"tool.aotbuild.models.{spec.name}")
    example = example_sizes(model.dims)
    cases = []
    for label, sizes in verification_sizes(model.dims, example).items():
        if input_bytes(model, sizes) > _LARGEST_INPUTS:
            warn(
                f"{spec.name} is not verified at {label}",
                where=where,
                why="its inputs would take more than 1 GiB",
                fix="lower max if such sizes do not occur",
            )
            continue
        inputs = example_inputs(model, sizes, device)
        try:
            result = module(**inputs)
        except Exception as error:
            line = user_line(error, project)
            raise ExportError(
                f"the eager model fails at {label}",
                where=where + (f"\n{line}" if line else ""),
                why=told(error),
                fix="declare a range that the model works with",
            ) from error
        leaves, paths = flatten_result(result)
        cases.append(Case(label, dict(sizes), leaves, paths))
    return Reference(cases)


def _call_spec(
    program: torch.export.ExportedProgram, spec: ExportSpec, parameters: list[inspect.Parameter]
) -> CallSpec:
    model = spec.declaration
    inputs: list[Input] = []
    trees = []
    for parameter in parameters:
        keyword_only = parameter.kind is parameter.KEYWORD_ONLY
        start = len(inputs)
        for label, declared in tensor_leaves(model.inputs[parameter.name], parameter.name):
            order = list(range(len(declared.shape)))
            inputs.append(Input(label, declared.dtype, list(declared.shape), order, keyword_only))
        tree = _input_tree(model.inputs[parameter.name], itertools.count(start))
        trees.append({**tree, "keyword-only": True} if keyword_only else tree)
    return CallSpec(
        inputs=inputs,
        in_spec={"type": "dict", "keys": [p.name for p in parameters], "items": trees},
        outputs=output_tree(program, inputs, located(f"tool.aotbuild.models.{spec.name}")),
        dims={name: Dim(dim.min, dim.max) for name, dim in model.dims.items()},
        example=example_sizes(model.dims),
    )


def _input_tree(tree: Any, positions: Iterator[int]) -> dict[str, Any]:
    """How an argument nests, in the terms of the call spec."""
    if isinstance(tree, TensorInput):
        return {"type": "tensor", "index": next(positions)}
    if isinstance(tree, ConstantInput):
        return {"type": "constant", "value": constant_value(tree)}
    if isinstance(tree, list):
        return {"type": "tuple", "items": [_input_tree(i, positions) for i in tree]}
    items = [_input_tree(item, positions) for item in tree.values()]
    return {"type": "dict", "keys": list(tree), "items": items}


def _keep_computed_outputs(program: torch.export.ExportedProgram) -> None:
    """Let the program return the flat list of what it computes.

    The call spec knows how to nest it, and the constants among the outputs. A string cannot be
    saved in a program, a class would be needed to load one, and neither can be compiled.
    """
    output = program.graph.output_node()
    specs = program.graph_signature.output_specs
    computed = [i for i, spec in enumerate(specs) if not isinstance(spec.arg, ConstantArgument)]
    values: Any = output.args[0]
    output.args = (tuple(values[i] for i in computed),)
    program.graph_signature.output_specs = [specs[i] for i in computed]
    program.graph_module.recompile()
    flat = pytree.tree_flatten([0] * len(computed))[1]
    program.module_call_graph[0].signature.out_spec = flat
    program.module_call_graph[0].signature.outputs = [specs[i].arg for i in computed]
