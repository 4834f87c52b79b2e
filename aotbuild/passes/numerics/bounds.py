"""Bounds of slices that are left out are written out, where the other follows from data.

Inductor of torch 2.13 writes a bound that is left out as ``None`` into C++;
``tests/unit/passes/test_unbacked_sizes.py`` has such a graph.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import in_all_graphs

aten: Any = torch.ops.aten


def run(module: GraphModule) -> int:
    """Write out the bounds of slices up to a size that follows from data, in subgraphs too.

    Returns:
        How many slices were changed.
    """

    def rewrite(graph: GraphModule) -> int:
        return sum(map(_write_bounds, graph.graph.find_nodes(**_SLICE)))

    return in_all_graphs(module, rewrite)


_SLICE: Any = {"op": "call_function", "target": aten.slice.Tensor}


def _write_bounds(node: Node) -> bool:
    names = ("self", "dim", "start", "end", "step")
    given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    bounds = given.get("start"), given.get("end")
    if None not in bounds or not any(isinstance(bound, Node) for bound in bounds):
        return False
    start, end = bounds
    node.kwargs = {}
    node.args = (
        given["self"],
        given.get("dim", 0),
        0 if start is None else start,
        sys.maxsize if end is None else end,
        given.get("step", 1),
    )
    return True
