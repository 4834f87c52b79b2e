"""Step export: source, weights and inputs become programs, call specs and reference outputs."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, InputKind, TensorArgument
from torch.fx.experimental import _config as fx_config
from torch.utils import _pytree as pytree

from aotbuild.build.arguments import (
    Argument,
    Parameter,
    as_call,
    call_program,
    call_tree,
    tensors_of,
    with_tensors,
)
from aotbuild.build.callspec import CallSpec
from aotbuild.build.diagnosis import Finding, Recorder, findings, recording
from aotbuild.build.example import Example, example_call
from aotbuild.build.files import replacing, write_depfile, write_text
from aotbuild.build.outputs import output_tree
from aotbuild.build.ranges import compiled_ranges, holds
from aotbuild.build.recurrent import dynamic_steps
from aotbuild.build.reference import Case, Reference, flatten_result
from aotbuild.build.samples import Leaf, Samples, input_bytes, verification_sizes
from aotbuild.build.shapes import dim_names, leaf_dims, name_dims, read_dims, torch_dims
from aotbuild.build.source import (
    FileTracker,
    build_module,
    importing,
    load_op_libraries,
    method_of,
    resolve,
    told,
    user_line,
)
from aotbuild.build.spec import ExportSpec, read_spec
from aotbuild.config.parse import listed, located
from aotbuild.config.resolve import call_path, calls, is_program
from aotbuild.config.schema import FORWARD, Call, Dim
from aotbuild.errors import ExportError, SourceError, debugging, warn
from aotbuild.runtime import manifest
from aotbuild.runtime.manifest import Input, Size

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

MODULE = "aotbuild_module"
"""Where the traced module holds the project's own: the prefix of the names of its tensors."""


def run(spec_file: Path) -> None:
    """Run the step; the specification is an ``ExportSpec``."""
    spec = read_spec(ExportSpec, spec_file)
    project, output = Path(spec.project), Path(spec.output)
    tracker = FileTracker(project)
    for method in trace(spec):
        method.write(output / method.name)
    read = tracker.files()
    declared = [spec.declaration.weights, spec.declaration.source]
    read += [project / name for name in declared if name and (project / name).is_file()]
    write_depfile(output / "exported.json", read)
    write_text(output / "exported.json", "{}\n")


@dataclass(frozen=True)
class Traced:
    """A method, traced: all that the other steps need of it."""

    name: str
    program: torch.export.ExportedProgram
    call: CallSpec
    samples: Samples
    reference: Reference

    def write(self, directory: Path) -> None:
        """Write the files of the export."""
        directory.mkdir(parents=True, exist_ok=True)
        self.reference.write(directory / "reference.pt")
        self.samples.write(directory / "samples.pt")
        with replacing(directory / "program.pt2") as temporary:
            # The file must end in .pt2 for torch to write it without a warning.
            archive = temporary.with_suffix(".pt2")
            torch.export.save(self.program, archive)
            archive.replace(temporary)
        self.call.write(directory / "call.json")


def trace(spec: ExportSpec) -> list[Traced]:
    """Trace the methods of a model.

    Raises:
        AotBuildError: The source, its weights or its inputs are wrong, or torch cannot trace it.
    """
    project = Path(spec.project)
    with importing(spec.import_paths, spec.package), torch.no_grad(), dynamic_steps():
        load_op_libraries(spec.declaration.op_libraries or [], project)
        if is_program(spec.declaration.source):
            return [_load_program(spec, project)]
        return _trace_methods(spec, project)


def _trace_methods(spec: ExportSpec, project: Path) -> list[Traced]:
    device = torch.device(spec.device)
    module = build_module(spec.name, spec.declaration, project, device)
    original = None
    if spec.declaration.quantize:
        from aotbuild.build.quantize import quantized

        original = module
        module = quantized(module, spec.declaration.quantize, spec.name)
    return [
        _trace(spec, module, original, name, call, project)
        for name, call in calls(spec.declaration).items()
    ]


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
    given = copy.deepcopy(example.tensors)
    specs = _dynamic_dims(call, example, path, project, module)
    flat = _Flat(module, name, example.arguments)
    program = _exported(flat, given, specs, path, example, call.dims, project)
    if call.dynamic_shapes:
        shapes, dims = name_dims(program, example.labels, dim_names(specs))
        sizes = _sizes_of(shapes, example.tensors)
    else:
        shapes, dims = read_dims(program, example.shapes, call.dims)
        sizes = {dim: example.sizes[dim] for dim in dims}
        _warn_static(example.shapes, shapes, path)
    inputs = [
        Input(label, leaf.dtype, shape, list(range(len(shape))))
        for label, leaf, shape in zip(example.labels, example.samples.leaves, shapes, strict=True)
    ]
    dims = _smallest_sizes(call, dims, sizes, inputs, example, flat, device)
    spec_of_call = CallSpec(
        inputs=inputs,
        in_spec=example.in_spec,
        outputs=output_tree(program, inputs, where),
        dims=dims,
        conditions=[],
        example=sizes,
        op_libraries=spec.declaration.op_libraries or [],
    )
    assumed = compiled_ranges(program.graph, inputs, dims, sizes)
    spec_of_call = dataclasses.replace(spec_of_call, conditions=assumed.conditions)
    _keep_computed_outputs(program, where)
    eager: list[Callable[[Sequence[torch.Tensor]], Any]] = [flat]
    if original is not None:
        eager.append(_Flat(original, name, example.arguments))
    reference = _reference(spec_of_call, example.samples, eager, path, project, device)
    return Traced(name, program, spec_of_call, example.samples, reference)


class _Flat(torch.nn.Module):
    """A method that takes its tensors flat; the other arguments are constants.

    What torch.export knows of nesting, of keywords and of ``*args`` is not needed then, and what it
    does not know does not matter: the call spec tells how arguments nest.
    """

    def __init__(self, module: torch.nn.Module, method: str, arguments: list[Argument]) -> None:
        super().__init__()
        self.add_module(MODULE, module)
        self._method = method
        self._arguments = arguments

    def forward(self, tensors: Sequence[torch.Tensor]) -> Any:
        given = iter(tensors)
        bound = [Argument(a.name, a.kind, with_tensors(a.value, given)) for a in self._arguments]
        args, kwargs = as_call(bound)
        module = self.get_submodule(MODULE)
        # A module is called as such, so that its hooks run.
        method = module if self._method == FORWARD else getattr(module, self._method)
        return method(*args, **kwargs)


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
            why=told(error),
            fix="write them as torch.export.export takes them: a dict by the names of the "
            "parameters, each nested as the parameter, with { axis: Dim } for a tensor",
        ) from error


def _exported(
    flat: _Flat,
    tensors: list[torch.Tensor],
    specs: list[Any],
    path: str,
    example: Example,
    dims: Mapping[str, Dim],
    project: Path,
) -> torch.export.ExportedProgram:
    # Loops of recurrent layers that were traced before would be mistaken for those of this method.
    torch._dynamo.reset()

    def exported() -> torch.export.ExportedProgram:
        return torch.export.export(
            flat, (tuple(tensors),), dynamic_shapes=(tuple(specs),), strict=False
        )

    recorder = Recorder()
    try:
        with _without_dumps(), recording() as recorder:
            program = exported()
    except Exception as error:
        oblivious = _exported_oblivious(exported, error)
        if oblivious is None:
            found = findings(
                recorder,
                example.labels,
                example.shapes,
                dims,
                project,
                finished="Constraints violated" in str(error),
            )
            raise _narrower(found, path) or _export_error(error, located(path), project) from error
        program = oblivious
    _refuse_mutation(program, located(path), example.labels)
    return program


def _exported_oblivious(
    exported: Callable[[], torch.export.ExportedProgram], error: Exception
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
        with _without_dumps(), config.patch(backed_size_oblivious=True):
            return exported()
    except Exception:  # noqa: BLE001  # the first error is the one to tell
        return None


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
    dims: dict[str, manifest.Dim],
    sizes: Mapping[str, int],
    inputs: Sequence[Input],
    example: Example,
    flat: _Flat,
    device: torch.device,
) -> dict[str, manifest.Dim]:
    """Let a range that torch.export found begin with 1 only if the model works with that size."""
    found = dict(dims)
    for name, dim in dims.items():
        declared = call.dims.get(name, Dim(auto=True))
        if not declared.auto or dim.min > 1:
            continue
        try:
            flat(example.samples.at(inputs, {**sizes, name: dim.min}, device))
        except Exception:  # noqa: BLE001  # whatever it raises, it does not work
            found[name] = manifest.Dim(2, dim.max, dim.multiple_of)
    return found


def _sizes_of(shapes: Sequence[Sequence[Size]], tensors: Sequence[torch.Tensor]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for shape, tensor in zip(shapes, tensors, strict=True):
        for want, size in zip(shape, tensor.shape, strict=True):
            if isinstance(want, str):
                sizes[want] = int(size)
            elif isinstance(want, manifest.Derived):
                sizes.setdefault(want.dim, (int(size) - want.offset) // want.factor)
    return sizes


_SAVED_SIZE = re.compile(r"L\['(\w+)'\]((?:\[[^\]]+\])*)\.size\(\)\[(\d+)\]")


def _saved_conditions(
    program: torch.export.ExportedProgram, labels: Sequence[str], shapes: Sequence[Sequence[Size]]
) -> list[str]:
    """What a saved program needs beyond single ranges, in the names of its dimensions."""

    def told(match: re.Match[str]) -> str:
        label = match[1] + match[2].replace("'", '"')
        size = shapes[labels.index(label)][int(match[3])]
        return f"({size})"

    saved: list[str] = getattr(program, "_guards_code", None) or []
    sizes = [code for code in saved if _SAVED_SIZE.search(code)]
    found = {_SAVED_SIZE.sub(told, code) for code in sizes}
    # Two sizes of one name are checked anyhow.
    return sorted(code for code in found if len(set(re.split(r"\s*==\s*", code))) > 1)


def _load_program(spec: ExportSpec, project: Path) -> Traced:
    """A program that torch.export.save wrote; its inputs, dimensions and weights are its own."""
    source = spec.declaration.source
    where = located(f"tool.aotbuild.models.{spec.name}.source")
    try:
        program = torch.export.load(project / source)
    except Exception as error:
        raise SourceError(
            f'"{source}" cannot be loaded as an exported program',
            where=where,
            why=told(error).splitlines()[0],
            fix="write it with torch.export.save(torch.export.export(...), ...) and this torch, "
            f"{torch.__version__}; classes in its inputs and outputs must be registered",
        ) from error
    if program.example_inputs is None:
        raise SourceError(
            f'"{source}" holds no example inputs',
            where=where,
            why="they are needed to compile the program and to verify it",
            fix="save it again; torch.export.save keeps them unless they are removed",
        )
    args, kwargs = program.example_inputs
    signature = program.module_call_graph[0].signature
    names = list(getattr(signature, "forward_arg_names", None) or [])
    names += [f"input{i}" for i in range(len(names), len(args))]
    names = [*names[: len(args)], *kwargs]
    values = dict(zip(names, [*args, *kwargs.values()], strict=True))
    kinds = dict.fromkeys(names[: len(args)], Parameter.POSITIONAL_OR_KEYWORD)
    arguments = [Argument(n, kinds.get(n, Parameter.KEYWORD_ONLY), v) for n, v in values.items()]
    in_spec, labels = call_tree(arguments, where)
    tensors = [tensor for argument in arguments for tensor in tensors_of(argument.value)]
    shapes, dims = name_dims(program, labels, [{}] * len(labels))
    leaves = [Leaf(str(t.dtype).removeprefix("torch."), t.detach().cpu()) for t in tensors]
    inputs = [
        Input(label, leaf.dtype, shape, list(range(len(shape))))
        for label, leaf, shape in zip(labels, leaves, shapes, strict=True)
    ]
    path = f"tool.aotbuild.models.{spec.name}"
    _refuse_mutation(program, located(path), labels)
    module = program.module()
    call = CallSpec(
        inputs=inputs,
        in_spec=in_spec,
        outputs=output_tree(program, inputs, located(path)),
        dims=dims,
        conditions=_saved_conditions(program, labels, shapes),
        example=_sizes_of(shapes, tensors),
        op_libraries=spec.declaration.op_libraries or [],
    )
    samples = Samples(leaves)
    eager = [lambda tensors: call_program(module, (args, kwargs), tensors)]
    reference = _reference(call, samples, eager, path, project, torch.device(spec.device))
    _keep_computed_outputs(program, located(path))
    return Traced(FORWARD, program, call, samples, reference)


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


def _refuse_mutation(
    program: torch.export.ExportedProgram, where: str, labels: Sequence[str]
) -> None:
    # The exported graph keeps in-place operators; only without them does its signature tell
    # what they changed.
    signature = program.run_decompositions({}).graph_signature
    buffers = sorted(
        name.removeprefix(f"{MODULE}.") for name in signature.buffers_to_mutate.values()
    )
    if buffers:
        raise ExportError(
            f"forward() changes {'the buffer' if len(buffers) == 1 else 'buffers'} "
            f"{listed(buffers)}",
            where=where,
            why="a compiled model is shared by all its callers and keeps no state between calls",
            fix="pass the state as an input and return the new one, or switch the update off "
            "in eval mode",
        )
    # The names of the program's inputs are not those of the parameters; their places are.
    mutated = set(signature.user_inputs_to_mutate.values())
    tensors = [
        spec.arg.name
        for spec in signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    ]
    changed = [label for label, name in zip(labels, tensors, strict=True) if name in mutated]
    if changed:
        raise ExportError(
            f"forward() changes its {'input' if len(changed) == 1 else 'inputs'} {listed(changed)}",
            where=where,
            why="a compiled model may work on a copy of an input, where the change is lost",
            fix=f"work on {changed[0]}.clone() and return the result",
        )


def _narrower(found: Sequence[Finding], path: str) -> ExportError | None:
    """The error for dimensions that the model does not leave as they were declared."""
    if not found:
        return None
    names = list(dict.fromkeys(name for finding in found for name in finding.dim.split(", ")))
    lines = list(dict.fromkeys(line for f in found for line in f.line.splitlines()))
    places = [located(f"{path}.dims.{name}") for name in names]
    return ExportError(
        f"the model does not work for every declared size of {listed(names)}",
        where="\n".join([*places, *lines]),
        why="\n".join(finding.found for finding in found),
        fix="\n".join(dict.fromkeys(finding.fix for finding in found)),
    )


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
    elif "not a known type" in text or "unsupported type" in text.lower():
        fix = (
            "return tensors in tuples, lists and dicts: let the source be a factory of a module "
            "that takes the object apart, such as [(layer.keys, layer.values) for layer in "
            "cache.layers]"
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
    call: CallSpec,
    samples: Samples,
    eager: Sequence[Callable[[Sequence[torch.Tensor]], Any]],
    path: str,
    project: Path,
    device: torch.device,
) -> Reference:
    """What the eager model returns at the sizes to verify.

    Args:
        call: The call spec.
        samples: The arguments.
        eager: The method, given its tensors flat, and the same one before the model was quantised,
            if it was.
        path: Dotted path of the declaration of the call.
        project: Directory of the project.
        device: Where the model is.
    """
    cases = []
    for label, sizes in verification_sizes(call.dims, call.example).items():
        if not all(holds(condition, sizes) for condition in call.conditions):
            continue
        if input_bytes(call.inputs, sizes) > _LARGEST_INPUTS:
            warn(
                f"{path.removeprefix('tool.aotbuild.models.')} is not verified at {label}",
                where=located(path),
                why="its inputs would take more than 1 GiB",
                fix="lower max if such sizes do not occur",
            )
            continue
        results = []
        for method in eager:
            tensors = samples.at(call.inputs, sizes, device)
            try:
                results.append(flatten_result(method(tensors)))
            except Exception as error:
                line = user_line(error, project)
                raise ExportError(
                    f"the eager model fails at {label}",
                    where=located(path) + (f"\n{line}" if line else ""),
                    why=told(error),
                    fix="declare a range that the model works with",
                ) from error
        original = results[1][0] if len(results) > 1 else None
        cases.append(Case(label, dict(sizes), *results[0], original))
    return Reference(cases)


def _keep_computed_outputs(program: torch.export.ExportedProgram, where: str) -> None:
    """Let the program return the flat list of what it computes.

    The call spec knows how to nest it, and the constants among the outputs. A string cannot be
    saved in a program, a class would be needed to load one, and neither can be compiled.
    """
    output = program.graph.output_node()
    specs = program.graph_signature.output_specs
    computed = [i for i, spec in enumerate(specs) if not isinstance(spec.arg, ConstantArgument)]
    if not computed:
        raise ExportError(
            "forward() returns no tensor",
            where=where,
            why="there is nothing to compile",
            fix="return what is computed, in eval mode too",
        )
    values: Any = output.args[0]
    output.args = (tuple(values[i] for i in computed),)
    program.graph_signature.output_specs = [specs[i] for i in computed]
    program.graph_module.recompile()
    flat = pytree.tree_flatten([0] * len(computed))[1]
    program.module_call_graph[0].signature.out_spec = flat
    program.module_call_graph[0].signature.outputs = [specs[i].arg for i in computed]
