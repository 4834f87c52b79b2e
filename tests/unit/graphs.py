"""Graphs as the step compile gives them to the passes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from aotbuild.passes.graph.derived import evaluate
from aotbuild.passes.pipeline import PASSES


def traced(module: torch.nn.Module, *args: Any, dynamic: Any = None) -> torch.fx.GraphModule:
    """The graph of a module."""
    with torch.no_grad():
        program = torch.export.export(module.eval(), args, dynamic_shapes=dynamic, strict=False)
    graph = program.module(check_guards=False)
    assert isinstance(graph, torch.fx.GraphModule)
    return graph


def rewritten(graph: torch.fx.GraphModule, name: str) -> tuple[int, dict[str, Any]]:
    """Apply one pass: how often it fired, and what was computed."""
    with torch.no_grad():
        count = PASSES[name].run(graph)
        derived = evaluate(graph)
    graph.graph.lint()
    graph.recompile()
    return count, derived


def calls(graph: torch.fx.GraphModule) -> Counter[str]:
    """How often each operator is called."""
    return Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_function")


def assert_unchanged(module: torch.nn.Module, name: str, *args: Any, dynamic: Any = None) -> None:
    """A pass finds nothing to rewrite."""
    graph = traced(module, *args, dynamic=dynamic)
    before = calls(graph)
    assert rewritten(graph, name)[0] == 0
    assert calls(graph) == before


def assert_rewritten(
    module: torch.nn.Module, name: str, *args: Any, count: int = 1, dynamic: Any = None
) -> torch.fx.GraphModule:
    """A pass fires so often, and the results stay the same, run with the operators in eager."""
    graph = traced(module, *args, dynamic=dynamic)
    assert rewritten(graph, name)[0] == count
    with torch.no_grad():
        torch.testing.assert_close(graph(*args), module(*args), rtol=1e-5, atol=1e-5)
    return graph
