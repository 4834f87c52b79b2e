"""What a program changes: inputs it may, and what is kept anywhere but in buffers it may not."""

from __future__ import annotations

import contextlib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export.graph_signature import InputKind, OutputKind, TensorArgument
from torch.fx import Node
from torch.utils import _pytree as pytree

from aotbuild.config.messages import listed
from aotbuild.errors import ExportError
from aotbuild.steps.artifacts.export_weights import MODULE

_TRAINED = ("training", "use_input_stats")
"""What tells a norm to use, and to update, the statistics of what it is given."""
_SHARED = "a compiled model is shared by all its callers, and only buffers are state of their own"
_STATE_FIX = (
    "keep it in a buffer, self.register_buffer(name, tensor), which becomes the state that callers "
    "hold; or switch the update off in eval mode"
)
_SAVED_FIX = (
    "name the model's class or factory as the source: what its buffers keep becomes the state that "
    "callers hold"
)


@dataclass(frozen=True)
class Changes:
    """A program without operators that work in place, and which of its inputs it changes."""

    program: torch.export.ExportedProgram
    inputs: list[int]
    """Positions among the inputs that are tensors. The new values are the first outputs of the
    graph, as its signature tells."""


def find_changes(program: torch.export.ExportedProgram, where: str) -> Changes:
    """Find out which inputs a program changes, and make sure that it changes nothing else.

    Args:
        program: The program; it is taken apart where it changes something.
        where: Place of the model's declaration, for messages.

    Raises:
        ExportError: It changes a parameter, a buffer, or a tensor that is neither.
    """
    if not any(map(_may_change, program.graph_module.modules())):
        return Changes(program, [])
    # The exported graph keeps in-place operators; only without them does its signature tell
    # what they changed.
    try:
        functional = program.run_decompositions({})
    except RuntimeError as error:
        # torch 2.13 raises for tensors that are no buffers; test_mutation.py notices another text.
        match = re.search(r"Constant (\S+) is mutated", str(error))
        if match is None:
            raise
        raise _constant_error(program, match[1], where) from error
    signature = functional.graph_signature
    for kind, one, several, fix in (
        (OutputKind.BUFFER_MUTATION, "the buffer", "buffers", _SAVED_FIX),
        (OutputKind.PARAMETER_MUTATION, "the parameter", "parameters", _STATE_FIX),
    ):
        changed = sorted(
            str(spec.target).removeprefix(f"{MODULE}.")
            for spec in signature.output_specs
            if spec.kind is kind
        )
        if changed:
            raise ExportError(
                f"forward() changes {one if len(changed) == 1 else several} {listed(changed)}",
                where=where,
                why=_SHARED,
                fix=fix,
            )
    # The names of the program's inputs are not those of the parameters; their places are.
    mutated = set(signature.user_inputs_to_mutate.values())
    if not mutated:
        return Changes(program, [])
    tensors = [
        spec.arg.name
        for spec in signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    ]
    return Changes(functional, [i for i, name in enumerate(tensors) if name in mutated])


def _may_change(module: torch.nn.Module) -> bool:
    """Whether an operator of a graph may change what it is given; most graphs have none."""
    if not isinstance(module, torch.fx.GraphModule):
        return False
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target is operator.getitem:
            continue
        if isinstance(node.target, torch._ops.OpOverload):
            if node.target._schema.is_mutable or _updates_statistics(node):
                return True
        elif isinstance(node.target, torch._ops.HigherOrderOperator):
            return True
    return False


def _updates_statistics(node: Node) -> bool:
    """Whether a norm may change its running statistics, which its schema does not tell."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    if given.get("running_mean") is None:
        return False
    flags = [name for name in _TRAINED if name in names]
    return not flags or any(given.get(name, True) is not False for name in flags)


def _constant_error(program: torch.export.ExportedProgram, target: str, where: str) -> ExportError:
    """The error for a tensor that is changed, and is neither a parameter nor a buffer."""
    name = target.removeprefix(f"{MODULE}.")
    what = "a tensor outside the module" if "lifted_tensor" in name else f"the tensor {name}"
    arguments = {
        spec.arg.name for spec in program.graph_signature.input_specs if spec.target == target
    }
    line = ""
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in arguments:
            line = next(filter(None, map(_line, node.users)), "")
    return ExportError(
        f"forward() changes {what}, which is no buffer",
        where=where + (f"\n{line}" if line else ""),
        why=_SHARED,
        fix=_STATE_FIX,
    )


def _line(node: Node) -> str:
    """The line of the model that a node comes from, such as ``net.py:7 in forward: x += 1``."""
    trace = str(node.meta.get("stack_trace") or "")
    frames = re.findall(r'File "[^"]*?([^"/]+)", line (\d+), in (\S+)\n\s*(.*)', trace)
    if not frames:
        return ""
    file, number, function, text = frames[-1]
    return f"{file}:{number} in {function}: {text}"


def refuse_state(call: Callable[[], Any], tensors: Mapping[str, torch.Tensor], where: str) -> None:
    """Make sure that two calls with the same arguments give the same, and change no weights.

    A model that counts its calls, or keeps what it has computed, is traced as its first call.
    Random numbers are drawn by torch with the same seed.

    Args:
        call: Calls the eager model, in the same way each time.
        tensors: Its parameters, buffers and other tensors, by their names.
        where: The place of the declaration.

    Raises:
        ExportError: They do not.
    """
    before = {name: tensor._version for name, tensor in tensors.items()}
    results = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                leaves = pytree.tree_leaves(call())
            except (Exception, SystemExit):  # noqa: BLE001  # told with its sizes where the reference is made
                return
        # A copy: the next call may write to the same memory.
        results.append(
            [
                leaf.clone() if isinstance(leaf, torch.Tensor) and not _is_fake(leaf) else leaf
                for leaf in leaves
            ]
        )
    changed = sorted(name for name, tensor in tensors.items() if tensor._version != before[name])
    if changed:
        raise ExportError(
            f"forward() changes {listed([name.removeprefix(f'{MODULE}.') for name in changed])}",
            where=where,
            why=_SHARED,
            fix=_STATE_FIX,
        )
    first, second = results
    if len(first) != len(second) or not all(map(_alike, first, second)):
        raise ExportError(
            "forward() gives something else when it is called again with the same arguments",
            where=where,
            why=f"{_SHARED}: it would repeat one of the calls for ever",
            fix="keep what a call changes in a buffer, self.register_buffer(name, tensor); draw "
            "random numbers with torch, not with random or numpy",
        )


def _is_fake(leaf: Any) -> bool:
    """Whether a tensor is one of torch.export, which a model kept while it was traced."""
    return isinstance(leaf, FakeTensor)


def _alike(one: Any, other: Any) -> bool:
    """Whether two leaves of results are the same, up to the order of sums."""
    if _is_fake(one) or _is_fake(other):
        return False
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        with contextlib.suppress(Exception):
            return type(one) is type(other) and bool(one == other or one != one)  # noqa: PLR0124
        return True
    if one.shape != other.shape or one.dtype is not other.dtype:
        return False
    if one.device.type == "meta":
        return True
    if not one.is_floating_point() or one.layout is not torch.strided or one.numel() == 0:
        with contextlib.suppress(RuntimeError, NotImplementedError):
            return torch.equal(one, other)
        return True
    first, second = one.double(), other.double()
    scale = float(first.nan_to_num(posinf=0, neginf=0).abs().max())
    return torch.allclose(first, second, rtol=1e-3, atol=1e-3 * scale, equal_nan=True)
