"""What passes ask about the nodes of a graph, and how they add others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule, Node

from aotbuild.passes.graph.sizes import is_static


def attribute(module: GraphModule, node: Any) -> torch.Tensor | None:
    """The tensor that a node stands for if it is a constant of the module: nothing writes to it."""
    if not isinstance(node, Node) or node.op != "get_attr":
        return None
    tensor: Any = module
    for name in str(node.target).split("."):
        tensor = getattr(tensor, name, None)
    if not isinstance(tensor, torch.Tensor) or _is_written(module, str(node.target)):
        return None
    return tensor.detach()


_MOST_OPERATORS, _DEEPEST = 1000, 100
"""Operators that a constant may be computed by, each counted as often as it is used, and how many
of them one after the other.

A derivation lists them as a tree, in which twenty steps of an iteration over a weight, as those
that make it orthogonal, are billions.
"""


def is_constant(module: GraphModule, node: Any) -> bool:
    """Whether what a node gives is computed from constants of the module, and from them alone.

    What takes more operators than a derivation should have is none.
    """
    counts: dict[Node, int] = {}
    pending = [node] if isinstance(node, Node) else []
    if not pending:
        return False
    # Without recursion: a model may be thousands of operators deep.
    while pending:
        one = pending[-1]
        if one.op == "get_attr":
            if attribute(module, one) is None:
                return False
            counts[one] = 0
        if one in counts:
            pending.pop()
            continue
        used = _used(one) if _is_repeatable(one) else []
        if not used or _are_written([one]):
            return False
        unknown = [each for each in used if each not in counts]
        if unknown:
            if len(pending) > _DEEPEST or not all(map(_may_be_constant, unknown)):
                return False
            pending.append(unknown[0])
            continue
        counts[one] = 1 + sum(counts[each] for each in used)
        if counts[one] > _MOST_OPERATORS:
            return False
    return True


def _may_be_constant(node: Node) -> bool:
    return node.op == "get_attr" or _is_repeatable(node)


def _is_repeatable(node: Node) -> bool:
    """Whether a node is an operator that gives the same in each call, and changes nothing."""
    target = node.target
    if node.op != "call_function" or not isinstance(target, torch._ops.OpOverload):
        return False
    return not (target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags)


def _used(node: Node) -> list[Node]:
    """The nodes among the arguments of a node, each as often as it is there."""
    nodes: list[Node] = []
    torch.fx.node.map_arg((node.args, node.kwargs), nodes.append)
    return nodes


def sources(node: Node) -> list[Node]:
    """The attributes of the module that a constant is computed from."""
    if node.op == "get_attr":
        return [node]
    return [found for each in node.all_input_nodes for found in sources(each)]


def constant_matrix(
    module: GraphModule, node: Any, dims: int = 2, dtype: torch.dtype = torch.float32
) -> torch.Tensor | None:
    """What a constant of a dtype is like that is computed from that dtype alone; None for others.

    Weights that are kept in fewer bits, as quantised ones, are none: computed once they would take
    the place that was saved.

    Args:
        module: The module that holds the constants.
        node: A node of its graph, or any other argument of an operator.
        dims: Number of dimensions that the constant must have.
        dtype: Its dtype.
    """
    if not is_constant(module, node):
        return None
    leaves = [attribute(module, each) for each in sources(node)]
    tensor = leaves[0] if node.op == "get_attr" else value(node)
    if tensor is None or tensor.dim() != dims:
        return None
    if not all(is_float(each, dtype) for each in (tensor, *leaves)):
        return None
    if not is_static(tensor):  # as w[: n.item()], of a constant n
        return None
    return tensor


def _is_written(module: GraphModule, target: str) -> bool:
    """Whether anything writes to a tensor of the module, or to a view of it."""
    return _are_written(list(module.graph.find_nodes(op="get_attr", target=target)))


def _are_written(nodes: list[Node]) -> bool:
    """Whether anything writes to what nodes give, or to a view of it."""
    pending = list(nodes)
    seen = set(pending)
    while pending:
        node = pending.pop()
        for user in node.users:
            if node in written_by(user):
                return True
            shares = user.op != "output"  # as an item of a list of views, or a call of a subgraph
            if isinstance(user.target, torch._ops.OpOverload):
                shares = any(result.alias_info for result in user.target._schema.returns)
            if shares and user not in seen:
                seen.add(user)
                pending.append(user)
    return False


def written_by(node: Node) -> list[Node]:
    """The arguments that an operator writes to."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return []
    schema = node.target._schema
    if not schema.is_mutable:
        return []
    written = []
    for position, formal in enumerate(schema.arguments):
        if formal.alias_info is not None and formal.alias_info.is_write:
            given = node.args[position : position + 1] or [node.kwargs.get(formal.name)]
            each = given[0] if isinstance(given[0], list | tuple) else given
            written += [one for one in each if isinstance(one, Node)]
    return written


def value(node: Any) -> torch.Tensor | None:
    """The tensor without memory that tells the shape and the type of what a node gives."""
    tensor = node.meta.get("val") if isinstance(node, Node) else None
    return tensor if isinstance(tensor, torch.Tensor) else None


def is_float(tensor: torch.Tensor | None, dtype: torch.dtype = torch.float32) -> bool:
    """Whether a tensor is an ordinary one of float32, or of another dtype, on the CPU."""
    return (
        tensor is not None
        and tensor.dtype is dtype
        and tensor.device.type == "cpu"
        and tensor.layout is torch.strided
    )


def fake_mode(module: GraphModule) -> FakeTensorMode:
    """The mode of the tensors that tell the shapes of a graph."""
    for node in module.graph.nodes:
        tensor = node.meta.get("val")
        if isinstance(tensor, FakeTensor):
            return tensor.fake_mode
    return FakeTensorMode()


def add(
    module: GraphModule, target: Any, *args: Any, kwargs: Mapping[str, Any] | None = None
) -> Node:
    """Add a call where the graph's insertion point is, with the shape of what it gives.

    Args:
        module: The module of the graph.
        target: The operator to call.
        *args: Its positional arguments: nodes of the graph, or plain values.
        kwargs: Its keyword arguments.

    Returns:
        The new node. Its ``meta["val"]`` is a fake tensor of the result's shape and dtype.
    """
    node = module.graph.call_function(target, args, dict(kwargs or {}))
    mode = fake_mode(module)

    def fake(argument: Any) -> Any:
        if not isinstance(argument, Node):
            return argument
        tensor = argument.meta.get("val")
        if tensor is None:
            constant = attribute(module, argument)
            tensor = mode.from_tensor(constant) if constant is not None else None
            argument.meta["val"] = tensor
        return tensor

    with mode:
        fake_args, fake_kwargs = torch.fx.node.map_aggregate((args, dict(kwargs or {})), fake)
        node.meta["val"] = target(*fake_args, **fake_kwargs)
    return node


def replace(old: Node, new: Node) -> None:
    """Put one node in the place of another, which is removed."""
    for key in ("stack_trace", "nn_module_stack", "from_node"):
        if key in old.meta:
            new.meta.setdefault(key, old.meta[key])
    old.replace_all_uses_with(new)
    old.graph.erase_node(old)


def in_all_graphs(module: GraphModule, rewrite: Callable[[GraphModule], int]) -> int:
    """Rewrite a graph, and those of its loops and branches.

    Args:
        module: The graph; its own code stays for the caller to make anew.
        rewrite: Rewrites one graph; returns how many rewrites it made.

    Returns:
        How many there were in all.
    """
    count = 0
    for each in module.modules():
        if isinstance(each, GraphModule):
            own = rewrite(each)
            if own and each is not module:
                each.recompile()
            count += own
    return count


def caller(graph: torch.fx.Graph) -> Callable[..., Node]:
    """A function that puts a call of an operator where the graph inserts."""

    def call(target: Any, *args: Any) -> Node:
        return graph.call_function(target, args)

    return call
