"""Find the operator that a compiled program computes wrongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch._inductor import config as inductor_config
from torch._inductor.utils import fresh_cache
from torch.utils import _pytree as pytree

from aotbuild.config.schema import Verify
from aotbuild.passes.recurrent.dynamic_steps import dynamic_steps
from aotbuild.steps.compile.vector_isa import only_vector_isa, vector_isa
from aotbuild.steps.export.arguments import call_program
from aotbuild.steps.export.input_uses import operator_name
from aotbuild.steps.export.traced_lines import traced_line
from aotbuild.steps.torch_parts.exporting import DYNAMIC_STEPS
from aotbuild.steps.torch_parts.moved import where_usable
from aotbuild.steps.verify.wide import Noise, exceeding
from aotbuild.target import Target

_RUNS = 4
_LARGEST = 1 << 30
"""Bytes of intermediate results that are compared."""


def first_difference(
    program: torch.export.ExportedProgram,
    tensors: Sequence[torch.Tensor],
    target: Target,
    project: Path,
) -> str:
    """The first operator of a program whose compiled result differs from the eager one.

    The program is compiled once more, returning what each of its operators computes.

    Args:
        program: The program.
        tensors: Its arguments, flat.
        target: What to compile for.
        project: Directory of the project, whose lines are the ones to tell.

    Returns:
        Such as ``aten.amax at src/net.py:12 in forward: return q.amax(1)``, or an empty string
        where no operator differs by itself, or it cannot be told.
    """
    flat = program.run_decompositions({})  # so that nothing is changed in place
    assert program.example_inputs is not None  # noqa: S101
    module = flat.module(check_guards=False)
    assert isinstance(module, torch.fx.GraphModule)  # noqa: S101
    nodes = _outputs(module)

    def call(function: Callable[..., Any]) -> list[torch.Tensor]:
        return list(call_program(function, program.example_inputs, tensors))  # type: ignore[arg-type]

    try:
        expected = call(module)
        runs = []
        for seed in range(_RUNS):
            with (noise := Noise(seed)):
                noisy = [noise.changed(tensor) for tensor in tensors]
                runs.append(list(call_program(module, program.example_inputs, noisy)))
        actual = call(_compiled(module, target))
    except Exception:  # noqa: BLE001  # the difference is told without its place
        return ""
    for node, got, want, *others in zip(nodes, actual, expected, *runs, strict=True):
        if got.shape != want.shape or got.dtype != want.dtype or not want.numel():
            continue
        doubt = _largest_change(want, others)
        wrong, _ = exceeding(got, want, doubt, Verify(), elementwise=True)
        if wrong.any():
            name = operator_name(node.target)
            line = traced_line(str(node.meta.get("stack_trace") or ""), project)
            return name + (f" at {line}" if line else "")
    return ""


def _outputs(module: torch.fx.GraphModule) -> list[torch.fx.Node]:
    """Let a module return what its operators compute, and nothing else."""
    nodes, size = [], 0
    for node in module.graph.nodes:
        value = node.meta.get("val")
        if node.op == "call_function" and type(value) is not tuple and _is_tensor(value):
            size += int(value.numel()) * value.itemsize
            if size <= _LARGEST:
                nodes.append(node)
    module.graph.output_node().args = (tuple(nodes),)
    codegen: Any = module.graph._codegen  # noqa: SLF001
    spec = pytree.tree_flatten((0,) * len(nodes))[1]
    codegen.pytree_info = codegen.pytree_info._replace(out_spec=spec)
    module.recompile()
    return nodes


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def _compiled(module: torch.fx.GraphModule, target: Target) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        options = {"compile_threads": 1, "cpp.vec_isa_ok": True, "fx_graph_cache": False}
        if target.isa:
            options["cpp.simdlen"] = vector_isa(target.isa).bit_width()
        torch._dynamo.reset()  # noqa: SLF001
        with (
            fresh_cache(),
            only_vector_isa(target.isa),
            where_usable(DYNAMIC_STEPS, dynamic_steps),
            inductor_config.patch(options),
        ):
            return torch.compile(module, dynamic=False, fullgraph=True)(*args, **kwargs)

    return run


def _largest_change(expected: torch.Tensor, others: Sequence[torch.Tensor]) -> torch.Tensor:
    doubt = torch.zeros(expected.shape, dtype=torch.float64)
    for other in others:
        if other.shape != expected.shape:
            return torch.full_like(doubt, torch.inf)
        kind = torch.complex128 if expected.is_complex() else torch.float64
        change = torch.where(other == expected, 0.0, (other.to(kind) - expected.to(kind)).abs())
        doubt = torch.maximum(doubt, change.nan_to_num(nan=torch.inf, posinf=torch.inf))
    return doubt
