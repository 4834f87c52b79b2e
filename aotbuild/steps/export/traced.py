"""What tracing a method gives, and what is checked and done alike for every program."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import ConstantArgument, OutputKind
from torch.utils import _pytree as pytree

from aotbuild.config.messages import located
from aotbuild.errors import ExportError, warn
from aotbuild.runtime.conditions import holds
from aotbuild.runtime.dims import Affine, Size
from aotbuild.runtime.manifest import STATE, Input
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.export_weights import MODULE
from aotbuild.steps.artifacts.reference import Case, Reference, changed_by, flatten_result
from aotbuild.steps.artifacts.samples import Leaf, Samples, input_bytes, verification_sizes
from aotbuild.steps.export.arguments import leaves_in
from aotbuild.steps.export.wide_cases import wide_cases
from aotbuild.steps.project_code import error_text, user_line

_LARGEST_INPUTS = 1 << 30


@dataclass(frozen=True)
class Traced:
    """A method, traced: all that the other steps need of it."""

    name: str
    program: torch.export.ExportedProgram
    call: CallSpec
    samples: Samples
    reference: Reference

    def write(self, directory: Path) -> None:
        """Write the files of the export, but for the program and its weights."""
        directory.mkdir(parents=True, exist_ok=True)
        self.reference.write(directory)
        self.samples.write(directory)
        self.call.write(directory)


@dataclass(frozen=True)
class TracedModel:
    """A model, traced."""

    methods: list[Traced]
    state: dict[str, torch.Tensor]
    """The state dict of its module."""
    initial: dict[str, torch.Tensor] = field(default_factory=dict)
    """What the buffers are at first that it keeps between calls."""


def inputs_of(
    labels: Sequence[str],
    leaves: Sequence[Leaf],
    shapes: Sequence[list[Size]],
    tensors: Sequence[torch.Tensor],
) -> list[Input]:
    """The inputs of a call spec, in the layouts of the tensors that the program was traced with.

    Args:
        labels: Labels of the inputs, such as ``pair[0]``.
        leaves: How their data is drawn, with their dtypes.
        shapes: Their shapes, with the names of dynamic dimensions.
        tensors: The example's tensors.
    """
    return [
        Input(label, leaf.dtype, shape, stride_order(tensor))
        for label, leaf, shape, tensor in zip(labels, leaves, shapes, tensors, strict=True)
    ]


def stride_order(tensor: torch.Tensor) -> list[int]:
    """The dimensions from the outermost to the innermost in memory."""
    order = list(range(tensor.dim()))
    if tensor.is_contiguous():  # where a size is 1, strides do not tell
        return order
    strides = tensor.stride()
    return sorted(order, key=lambda dim: -strides[dim])


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """A copy without gaps in the same order, as the compiled code shall read every argument."""
    order = stride_order(tensor)
    inverse = [order.index(dim) for dim in range(len(order))]
    return tensor.permute(order).clone(memory_format=torch.contiguous_format).permute(inverse)


def sizes_of(shapes: Sequence[Sequence[Size]], tensors: Sequence[torch.Tensor]) -> dict[str, int]:
    """The size that each dimension has in these tensors."""
    sizes: dict[str, int] = {}
    for shape, tensor in zip(shapes, tensors, strict=True):
        for want, size in zip(shape, tensor.shape, strict=True):
            if isinstance(want, str):
                sizes[want] = int(size)
            elif isinstance(want, Affine):
                sizes.setdefault(want.dim, (int(size) - want.offset) // want.factor)
    return sizes


def refuse_unstorable(program: torch.export.ExportedProgram, where: str) -> None:
    """Make sure that all tensors of a program can be written to a file of weights.

    Raises:
        ExportError: One is sparse, or has no memory.
    """
    for name, tensor in [*program.state_dict.items(), *program.constants.items()]:
        if not isinstance(tensor, torch.Tensor):
            continue
        try:
            tensor.data_ptr()
        except RuntimeError as error:
            layout = str(tensor.layout).removeprefix("torch.")
            raise ExportError(
                f"the tensor {name.removeprefix(f'{MODULE}.')} of the model cannot be stored",
                where=where,
                why=f"its layout is {layout}, its type {type(tensor).__name__}: {error}",
                fix="let the module keep a dense tensor, as of to_dense(), or the indices and "
                "values of a sparse one",
            ) from error


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let eager torch compute on one thread: its sums depend on how many there are.

    What the build records of differences from eager would depend on the machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def reference_outputs(
    call: CallSpec,
    samples: Samples,
    eager: Sequence[Callable[[Sequence[torch.Tensor]], Any]],
    path: str,
    project: Path,
    device: torch.device,
    program: torch.export.ExportedProgram | None = None,
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
        program: The traced program, to call the model with other values than those of the example
            too.

    Raises:
        ExportError: The eager model fails at a size of the declared ranges.
    """
    cases = []
    seconds = 0.0
    for label, sizes in verification_sizes(call.dims, call.example, call.exceptions).items():
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
        start = time.perf_counter()
        try:
            case, last = _eager_case(call, samples, eager, Case(label, dict(sizes), [], []), device)
        except (Exception, SystemExit) as error:
            line = user_line(error, project)
            raise ExportError(
                f"the eager model fails at {label}",
                where=located(path) + (f"\n{line}" if line else ""),
                why=error_text(error),
                fix=_failing_fix(call, sizes),
            ) from error
        cases.append(case)
        if sizes == call.example:
            seconds = time.perf_counter() - start
            cases += _later_cases(call, samples, eager, case, last, device)
    if program is not None and cases:
        cases += wide_cases(program, call, samples, eager[0], device, seconds)
    return Reference(cases)


def _eager_case(
    call: CallSpec,
    samples: Samples,
    eager: Sequence[Callable[[Sequence[torch.Tensor]], Any]],
    case: Case,
    device: torch.device,
) -> tuple[Case, list[torch.Tensor]]:
    """A case with what the eager methods return, and the arguments after the call.

    Args:
        call: The call spec.
        samples: The arguments.
        eager: The method, and the same one before the model was quantised, if it was.
        case: The case, without results.
        device: Where the model is.
    """
    results = []
    arguments = []
    for method in eager:
        tensors = case.arguments(samples.at(call.inputs, case.sizes, device))
        results.append(flatten_result(method(tensors), changed_by(call, tensors)))
        arguments.append(tensors)
    leaves, paths = results[0]
    original = results[1][0] if len(results) > 1 else None
    leaves = [leaf.clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    return replace(case, leaves=leaves, paths=paths, original=original), arguments[0]


_LATER = 2
"""How many calls follow the first with what it left in the state."""


def _later_cases(
    call: CallSpec,
    samples: Samples,
    eager: Sequence[Callable[[Sequence[torch.Tensor]], Any]],
    first: Case,
    arguments: Sequence[torch.Tensor],
    device: torch.device,
) -> list[Case]:
    """Calls that go on with what the one before has left in the state."""
    kept = [
        i for tree in call.in_spec["items"] if tree.get("kind") == STATE for i in leaves_in(tree)
    ]
    cases: list[Case] = []
    for number in range(2, _LATER + 2) if kept else ():
        given = {i: arguments[i].clone() for i in kept}
        case = replace(first, label=f"call {number} with one state", given=given)
        try:
            case, arguments = _eager_case(call, samples, eager, case, device)
        except (Exception, SystemExit):  # noqa: BLE001  # as where a cache is full
            break
        cases.append(case)
    return cases


def _failing_fix(call: CallSpec, sizes: Mapping[str, int]) -> str:
    """What to do about a model that fails in eager torch."""
    if dict(sizes) != dict(call.example):
        return "declare a range that the model works with"
    return (
        "the model fails at the sizes that it was traced with, and no other range cures that: "
        "correct it, or the dtypes, min and max of its inputs (integers are 0 or 1 where neither "
        "is declared)"
    )


def keep_computed_outputs(program: torch.export.ExportedProgram, where: str) -> None:
    """Let the program return the flat list of what it computes.

    The call spec knows how to nest it, and the constants among the outputs. A string cannot be
    saved in a program, a class would be needed to load one, and neither can be compiled.

    Raises:
        ExportError: The program returns no tensor.
    """
    output = program.graph.output_node()
    specs = program.graph_signature.output_specs
    computed = [i for i, spec in enumerate(specs) if not isinstance(spec.arg, ConstantArgument)]
    if not any(specs[i].kind is OutputKind.USER_OUTPUT for i in computed):
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
    # What inputs become comes first, and is none of what a call returns.
    returned = [specs[i].arg for i in computed if specs[i].kind is OutputKind.USER_OUTPUT]
    flat = pytree.tree_flatten([0] * len(returned))[1]
    program.module_call_graph[0].signature.out_spec = flat
    program.module_call_graph[0].signature.outputs = returned
