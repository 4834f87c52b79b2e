"""The outputs of an exported program: how they nest, as the call spec tells it."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch.export.graph_signature import (
    ConstantArgument,
    InputKind,
    OutputKind,
    SymIntArgument,
    TensorArgument,
)
from torch.utils import _pytree as pytree

from aotbuild.errors import ExportError
from aotbuild.runtime.manifest import Input
from aotbuild.steps.dtypes import dtype_name
from aotbuild.steps.sizes.symbols import dimension_symbols, named


def output_tree(
    program: torch.export.ExportedProgram, inputs: list[Input], where: str
) -> dict[str, Any]:
    """How the outputs of a program nest.

    Args:
        program: The program.
        inputs: Its inputs, whose dimensions name the sizes of the outputs.
        where: Place of the declaration, for messages.

    Returns:
        A tree, as the call spec holds it: tables of tuples, lists and dicts, with the shape and
        dtype of each tensor at the leaves.

    Raises:
        ExportError: An output is of a type that cannot be rebuilt.
    """
    leaves = _output_leaves(program, inputs, where)
    return _tree(program.call_spec.out_spec, leaves, where)


def _output_leaves(
    program: torch.export.ExportedProgram, inputs: list[Input], where: str
) -> Iterator[dict[str, Any]]:
    index = 0
    symbols, _ = dimension_symbols(program.graph, inputs)
    nodes = {node.name: node for node in program.graph.nodes}
    given = [
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument)
    ]
    for spec in program.graph_signature.output_specs:
        if spec.kind is not OutputKind.USER_OUTPUT:
            continue
        argument = spec.arg
        if isinstance(argument, ConstantArgument):
            if not isinstance(argument.value, bool | int | float | str | None):
                raise ExportError(
                    f"an output is a constant of type {type(argument.value).__name__}",
                    where=where,
                    fix="return tensors, numbers, strings or None",
                )
            yield {"type": "constant", "value": argument.value}
            continue
        if isinstance(argument, SymIntArgument):
            yield {"type": "int", "index": index}
        elif isinstance(argument, TensorArgument):
            value = nodes[argument.name].meta["val"]
            leaf = {
                "type": "tensor",
                "index": index,
                "dtype": dtype_name(value.dtype),
                "shape": [
                    size if isinstance(size, int) else named(size.node.expr, symbols)
                    for size in value.shape
                ],
            }
            source = _unconverted(nodes[argument.name])
            if source.name in given:
                leaf["input"] = given.index(source.name)
            yield leaf
        else:
            raise ExportError(
                f"an output is computed from sizes and is no integer ({type(argument).__name__})",
                where=where,
                fix="return the sizes themselves, or torch.tensor(value)",
            )
        index += 1


_CONVERSIONS = ("aten.to.", "aten.type_as.")


def _unconverted(node: torch.fx.Node) -> torch.fx.Node:
    """The tensor that a node is, where it is a conversion that has nothing to convert."""
    while str(node.target).startswith(_CONVERSIONS):
        source = node.args[0]
        assert isinstance(source, torch.fx.Node)  # noqa: S101
        before, after = source.meta["val"], node.meta["val"]
        if before.untyped_storage()._cdata != after.untyped_storage()._cdata:
            return node
        node = source
    return node


def _tree(spec: Any, leaves: Iterator[dict[str, Any]], where: str) -> dict[str, Any]:
    if spec.is_leaf():
        return next(leaves)
    kind = spec.type
    items = [_tree(child, leaves, where) for child in spec.children()]
    if kind is list or kind is tuple:
        return {"type": kind.__name__, "items": items}
    if kind is dict or kind is OrderedDict:
        keys = list(spec.context)
        if all(isinstance(key, str | int | bool | None) for key in keys):
            return {"type": kind.__name__, "keys": keys, "items": items}
    if pytree.is_namedtuple_class(kind) or pytree.is_namedtuple_class(spec.context):
        cls = spec.context or kind  # torch tells every namedtuple's class in the context
        name = f"{cls.__module__}:{cls.__qualname__}"
        return {"type": "namedtuple", "class": name, "fields": list(cls._fields), "items": items}
    fields = _object_fields(spec)
    if fields is not None:
        nothing = [{"type": "constant", "value": None}] * (len(fields) - len(items))
        name = f"{kind.__module__}:{kind.__qualname__}"
        return {"type": "object", "class": name, "fields": fields, "items": items + nothing}
    raise ExportError(
        f"the model returns a {kind.__module__}.{kind.__qualname__}",
        where=where,
        why="compiled models return tensors, numbers, strings and None in tuples, lists, "
        "dicts and namedtuples",
        fix="return one of these, for example a dict",
    )


def _object_fields(spec: Any) -> list[str] | None:
    """The fields of an object in torch's pytree, those that are None last; None for other types.

    A class that ``torch.export.register_dataclass`` registered tells two lists, the fields and
    those that are None; transformers' ``ModelOutput`` tells the fields that are not None.
    """
    context = spec.context
    if not isinstance(context, list) or not dataclasses.is_dataclass(spec.type):
        return None
    if len(context) == 2 and all(isinstance(names, list) for names in context):
        context = [*context[0], *context[1]]
    return context if all(isinstance(name, str) for name in context) else None
