"""Constants that are computed from other constants, once when the model is built.

A pass adds the computation to the graph as ordinary operators and marks the last one. How a
constant follows from others is written as a table that fits into JSON: ``{"tensor": name}``
for a constant of the module, ``{"op": name, "args": [...], "kwargs": {...}}`` for the result of an
operator, ``{"dtype": name}`` and the like for what JSON has not, else the argument itself.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.nodes import attribute

_MARK = "aotbuild_derived"


def derive(node: Node, label: str) -> Node:
    """Mark a node as computed from constants alone.

    Args:
        node: All that it depends on must be constants of the module.
        label: What the result is, as ``packed``; with the name of the constant it names the result.
    """
    node.meta[_MARK] = label
    return node


def is_marked(node: Any) -> bool:
    """Whether a node was marked as computed from constants alone."""
    return isinstance(node, Node) and _MARK in node.meta


def evaluate(module: GraphModule) -> dict[str, Any]:
    """Compute all that is marked, and make it constants of the module.

    Returns:
        How each new constant follows from others, by its name.
    """
    marked = [node for node in module.graph.nodes if _MARK in node.meta]
    # What is part of a larger computation is none of its own, unless others use it too.
    parts = _parts(module)
    roots = [node for node in marked if any(user not in parts for user in node.users)]
    derived: dict[str, Any] = {}
    known: dict[str, str] = {}
    for node in roots:
        derivation = serialized(node)
        key = json.dumps(derivation, sort_keys=True)
        if key not in known:
            name = _free_name(module, f"{_first(derivation)}_{node.meta[_MARK]}")
            with torch.no_grad():
                module.register_buffer(name, _computed(module, node, {}).contiguous().clone())
            known[key] = name
            derived[name] = derivation
        with module.graph.inserting_before(node):
            constant = module.graph.get_attr(known[key])
        constant.meta["val"] = node.meta.get("val")
        node.replace_all_uses_with(constant, delete_user_cb=lambda user: user not in parts)
    _remove(module, marked)
    return derived


def serialized(argument: Any) -> Any:
    """A node, or an argument of one, as an entry of the table."""
    if isinstance(argument, Node):
        if argument.op == "get_attr":
            return {"tensor": str(argument.target)}
        if argument.op != "call_function":
            raise ValueError(f"{argument.name} is not computed from constants")
        args = [serialized(each) for each in argument.args]
        derivation: dict[str, Any] = {"op": str(argument.target), "args": args}
        if argument.kwargs:
            derivation["kwargs"] = {key: serialized(each) for key, each in argument.kwargs.items()}
        return derivation
    if isinstance(argument, list | tuple):
        return [serialized(each) for each in argument]
    if isinstance(argument, torch.dtype | torch.memory_format | torch.layout):
        return {type(argument).__name__: str(argument).removeprefix("torch.")}
    if argument is None or isinstance(argument, bool | int | float | str):
        return argument
    raise ValueError(f"{argument!r} cannot be written in a table")


def _computed(module: GraphModule, node: Node, known: dict[Node, Any]) -> Any:
    if node not in known:
        constant = attribute(module, node)
        if constant is not None:
            known[node] = constant
        else:
            args, kwargs = torch.fx.node.map_arg(
                (node.args, node.kwargs), lambda each: _computed(module, each, known)
            )
            target: Any = node.target
            known[node] = target(*args, **kwargs)
    return known[node]


def _parts(module: GraphModule) -> set[Node]:
    """The nodes that are marked, or are a part of one that is and of nothing else."""
    parts: set[Node] = set()
    for node in reversed(module.graph.nodes):
        if _MARK in node.meta or (node.users and parts.issuperset(node.users)):
            parts.add(node)
    return parts


def _first(derivation: Any) -> str:
    """The name of the first constant that a computation uses."""
    if isinstance(derivation, dict):
        if "tensor" in derivation:
            return str(derivation["tensor"])
        derivation = derivation.get("args", [])
    names = map(_first, derivation) if isinstance(derivation, list) else ()
    return next(filter(None, names), "")


def _free_name(module: GraphModule, wanted: str) -> str:
    name = wanted.replace(".", "_")
    number = 0
    while hasattr(module, name):
        number += 1
        name = f"{wanted.replace('.', '_')}_{number}"
    return name


def _remove(module: GraphModule, marked: list[Node]) -> None:
    """Remove what is no longer used of the computations."""
    pending = list(marked)
    while pending:
        node = pending.pop()
        if node.users or node not in module.graph.nodes:
            continue
        pending += node.all_input_nodes
        module.graph.erase_node(node)
