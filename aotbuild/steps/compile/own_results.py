"""Results that Inductor would make one tensor with what they are computed from.

``x * 1`` and ``x + 0`` are tensors of their own in eager mode. Inductor takes ``x`` in their place,
and does not look whether both are results, or inputs: what a caller writes into one then is in the
other. In torch 2.13 that is so where the one or the zero is a tensor, from 2.14 on with numbers
too (https://github.com/pytorch/pytorch/issues/197893). Here such a result becomes a copy before.
Inductor removes copies that nobody would notice, and leaves those that keep results apart.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import GraphModule

from aotbuild.passes.graph.aliases import Aliases

aten: Any = torch.ops.aten

_ARITHMETIC = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor}
"""Operators that Inductor may replace by one of their operands."""


@contextlib.contextmanager
def results_of_their_own() -> Iterator[None]:
    """Copy results of arithmetic before Inductor removes what computes nothing."""
    from torch._inductor.fx_passes import joint_graph

    passes: Any = joint_graph
    original = passes.remove_no_ops

    def remove_no_ops(module: GraphModule, *args: Any) -> Any:
        _copy_results(module)
        values = {node: node.meta["val"] for node in module.graph.nodes if "val" in node.meta}
        removed = original(module, *args)
        # An operand in the place of an operator was given the memory of that, and has its own.
        for node in module.graph.nodes:
            if node in values:
                node.meta["val"] = values[node]
        return removed

    passes.remove_no_ops = remove_no_ops
    try:
        yield
    finally:
        passes.remove_no_ops = original


def _copy_results(module: GraphModule) -> None:
    aliases = Aliases(module)
    results = [node for out in module.graph.find_nodes(op="output") for node in out.all_input_nodes]
    for node in dict.fromkeys(map(aliases.root, results)):
        if node.target not in _ARITHMETIC:
            continue
        with module.graph.inserting_after(node):
            copy = module.graph.call_function(aten.clone.default, (node,))
        copy.meta = dict(node.meta)
        # By memory in which nothing else is, Inductor tells that the copy shares none.
        node.meta["val"] = node.meta["val"].clone()
        for user in list(node.users):
            if user is not copy:
                user.replace_input_with(node, copy)
