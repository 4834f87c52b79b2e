"""Constants that are computed from other constants, once when the model is built.

A pass adds the computation to the graph as ordinary operators and marks the last one. How a
constant follows from others is told as a table that can be written as JSON: ``{"tensor": name}``
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
        recipe = told(node)
        key = json.dumps(recipe, sort_keys=True)
        if key not in known:
            name = _free_name(module, f"{_first(recipe)}_{node.meta[_MARK]}")
            with torch.no_grad():
                module.register_buffer(name, _computed(module, node, {}).contiguous().clone())
            known[key] = name
            derived[name] = recipe
        with module.graph.inserting_before(node):
            constant = module.graph.get_attr(known[key])
        constant.meta["val"] = node.meta.get("val")
        node.replace_all_uses_with(constant, delete_user_cb=lambda user: user not in parts)
    _remove(module, marked)
    return derived


def told(argument: Any) -> Any:
    """How a node, or an argument of one, is told in a table."""
    if isinstance(argument, Node):
        if argument.op == "get_attr":
            return {"tensor": str(argument.target)}
        if argument.op != "call_function":
            raise ValueError(f"{argument.name} is not computed from constants")
        args = [told(each) for each in argument.args]
        recipe: dict[str, Any] = {"op": str(argument.target), "args": args}
        if argument.kwargs:
            recipe["kwargs"] = {key: told(each) for key, each in argument.kwargs.items()}
        return recipe
    if isinstance(argument, list | tuple):
        return [told(each) for each in argument]
    if isinstance(argument, torch.dtype | torch.memory_format | torch.layout):
        return {type(argument).__name__: str(argument).removeprefix("torch.")}
    if argument is None or isinstance(argument, bool | int | float | str):
        return argument
    raise ValueError(f"{argument!r} cannot be told in a table")


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
    found: set[Node] = set()
    for node in reversed(module.graph.nodes):
        if _MARK in node.meta or (node.users and found.issuperset(node.users)):
            found.add(node)
    return found


def _first(recipe: Any) -> str:
    """The name of the first constant that a computation uses."""
    if isinstance(recipe, dict):
        if "tensor" in recipe:
            return str(recipe["tensor"])
        recipe = recipe.get("args", [])
    found = map(_first, recipe) if isinstance(recipe, list) else ()
    return next(filter(None, found), "")


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
