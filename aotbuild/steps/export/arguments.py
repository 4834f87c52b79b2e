"""The arguments that a model is traced with: bound to its parameters, and flat for the library."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aotbuild.config.messages import did_you_mean, listed, located
from aotbuild.errors import ConfigError, ExportError
from aotbuild.runtime.manifest import STATE

Parameter = inspect.Parameter
_KINDS = {
    Parameter.POSITIONAL_ONLY: "positional-only",
    Parameter.VAR_POSITIONAL: "var-positional",
    Parameter.KEYWORD_ONLY: "keyword-only",
    Parameter.VAR_KEYWORD: "var-keyword",
    STATE: STATE,
}
"""As the call spec tells them; an ordinary parameter tells none."""


@dataclass(frozen=True)
class Argument:
    """A parameter and what is passed for it."""

    name: str
    kind: Any
    """One of the kinds of ``inspect.Parameter``, or ``STATE``."""
    value: Any


def bind_declared(
    forward: Callable[..., Any], declared: Mapping[str, Any], path: str
) -> list[Argument]:
    """Bind values by the names of parameters, in the order in which ``forward`` takes them.

    Args:
        forward: The method.
        declared: A value for each parameter that has an input.
        path: Dotted path of the inputs.

    Raises:
        ConfigError: A name is none of the parameters, or a required one has no value.
    """
    signature = inspect.signature(forward)
    parameters = signature.parameters
    called = _name(forward)
    for name in declared:
        if name not in parameters:
            raise ConfigError(
                f'{called}() has no parameter "{name}"',
                where=located(f"{path}.{name}"),
                fix=did_you_mean(name, parameters)
                or f"its parameters are: {listed(parameters) or 'none'}",
            )
    bound = []
    omitted = ""
    for parameter in parameters.values():
        name, kind = parameter.name, parameter.kind
        variadic = kind in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
        if name not in declared:
            if not variadic and parameter.default is Parameter.empty:
                raise ConfigError(
                    f'the parameter "{name}" of {called}() has no input',
                    where=located(path),
                    why=f"{called}{signature} requires it",
                    fix=f'add {name} = {{ shape = [...], dtype = "float32" }}',
                )
            omitted = omitted or (name if not variadic else "")
            continue
        if variadic:
            _check_variadic(parameter, declared[name], path)
        if omitted and kind in {Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL}:
            raise ConfigError(
                f'the parameter "{omitted}" is left out, but "{name}" behind it is not',
                where=located(f"{path}.{name}"),
                why=f"{name} can only be passed by position",
                fix=f"declare {omitted} too",
            )
        if omitted and kind is Parameter.POSITIONAL_OR_KEYWORD:
            # Behind a parameter that is left out, positions would mean something else.
            kind = Parameter.KEYWORD_ONLY
        bound.append(Argument(name, kind, declared[name]))
    return bound


def _name(forward: Callable[..., Any]) -> str:
    """What a method or function is called in errors; a partial one has no name of its own."""
    return getattr(forward, "__name__", "forward")


def _check_variadic(parameter: inspect.Parameter, value: Any, path: str) -> None:
    positional = parameter.kind is Parameter.VAR_POSITIONAL
    if not isinstance(value, tuple if positional else dict):
        raise ConfigError(
            f'the inputs of "{"*" if positional else "**"}{parameter.name}" are no '
            + ("array" if positional else "table"),
            where=located(f"{path}.{parameter.name}"),
            fix=f"write {parameter.name} = "
            + ("[ { shape = [...] }, ... ]" if positional else "{ name = { shape = [...] }, ... }"),
        )


def bind_example(
    forward: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], path: str
) -> list[Argument]:
    """Bind an example call to the parameters of a method.

    Args:
        forward: The method.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        path: Dotted path of the key that names the example.

    Returns:
        The arguments, in the order of the parameters.

    Raises:
        ConfigError: The method cannot be called so.
    """
    signature = inspect.signature(forward)
    try:
        bound = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise ConfigError(
            f"the example does not fit {_name(forward)}{signature}",
            where=located(path),
            why=str(error),
            fix="return (args, kwargs) as the method takes them",
        ) from None
    return bind_declared(forward, bound, path)


def as_call(arguments: Sequence[Argument]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the keyword arguments of a call."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    variadic = any(argument.kind is Parameter.VAR_POSITIONAL for argument in arguments)
    for argument in arguments:
        if argument.kind is Parameter.VAR_POSITIONAL:
            args += argument.value
        elif argument.kind is Parameter.VAR_KEYWORD:
            kwargs.update(argument.value)
        elif argument.kind is Parameter.POSITIONAL_ONLY or (
            variadic and argument.kind is Parameter.POSITIONAL_OR_KEYWORD
        ):
            args.append(argument.value)
        else:
            kwargs[argument.name] = argument.value
    return tuple(args), kwargs


def call_tree(arguments: Sequence[Argument], where: str) -> tuple[dict[str, Any], list[str]]:
    """How arguments nest, in the terms of the call spec, and a label for each of their tensors.

    Raises:
        ExportError: An argument holds what a compiled model cannot take.
    """
    labels: list[str] = []
    items = []
    for argument in arguments:
        tree = _tree(argument.value, argument.name, labels, where)
        kind = _KINDS.get(argument.kind)
        items.append({**tree, "kind": kind} if kind else tree)
    return {"type": "dict", "keys": [a.name for a in arguments], "items": items}, labels


def _tree(value: Any, label: str, labels: list[str], where: str) -> dict[str, Any]:
    if isinstance(value, torch.Tensor):
        labels.append(label)
        return {"type": "tensor", "index": len(labels) - 1}
    if value is None or isinstance(value, bool | int | float | str):
        return {"type": "constant", "value": value}
    if isinstance(value, list | tuple):
        items = [_tree(item, f"{label}[{i}]", labels, where) for i, item in enumerate(value)]
        return {"type": "list" if isinstance(value, list) else "tuple", "items": items}
    if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
        items = [
            _tree(
                item,
                f'{label}["{key}"]' if isinstance(key, str) else f"{label}[{key}]",
                labels,
                where,
            )
            for key, item in value.items()
        ]
        return {"type": "dict", "keys": list(value), "items": items}
    kind = type(value)
    raise ExportError(
        f"the argument {label} is a {kind.__module__}.{kind.__qualname__}",
        where=where,
        why="compiled models take tensors, numbers, strings and None in tuples, lists and dicts",
        fix="let the source be a factory whose module takes these and makes the object itself",
    )


def tensors_of(value: Any) -> list[torch.Tensor]:
    """The tensors in nested arguments, in the order of ``call_tree``."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_of(item)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_of(item)]
    return []


def with_tensors(value: Any, tensors: Any) -> Any:
    """Nested arguments with other tensors in the places of theirs.

    Args:
        value: The arguments.
        tensors: An iterator over the new tensors, or whatever shall stand for them.
    """
    if isinstance(value, torch.Tensor):
        return next(tensors)
    if isinstance(value, dict):
        return type(value)((key, with_tensors(item, tensors)) for key, item in value.items())
    if isinstance(value, list | tuple):
        items = [with_tensors(item, tensors) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def leaves_in(tree: Mapping[str, Any]) -> list[int]:
    """The positions of the tensors in a part of a call spec."""
    if tree["type"] == "tensor":
        return [tree["index"]]
    return [index for item in tree.get("items", ()) for index in leaves_in(item)]


def call_program(
    module: torch.nn.Module,
    example: tuple[tuple[Any, ...], dict[str, Any]],
    tensors: Sequence[torch.Tensor],
) -> Any:
    """Call the module of an exported program like its example, with other tensors.

    Args:
        module: The module.
        example: Positional and keyword arguments of the example call.
        tensors: The tensors to put in place of the example's, in the order of its leaves.
    """
    args, kwargs = with_tensors(example, iter(tensors))
    return module(*args, **kwargs)


def nested_call(
    in_spec: Mapping[str, Any], tensors: Sequence[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The call that a call spec describes, with ``tensors`` at its leaves."""
    kinds = {name: kind for kind, name in _KINDS.items()}
    return as_call(
        [
            Argument(
                name,
                kinds.get(tree.get("kind"), Parameter.POSITIONAL_OR_KEYWORD),
                _value(tree, tensors),
            )
            for name, tree in zip(in_spec["keys"], in_spec["items"], strict=True)
        ]
    )


def _value(tree: Mapping[str, Any], tensors: Sequence[Any]) -> Any:
    if tree["type"] == "tensor":
        return tensors[tree["index"]]
    if tree["type"] == "constant":
        return tree["value"]
    items = [_value(item, tensors) for item in tree["items"]]
    if tree["type"] == "dict":
        return dict(zip(tree["keys"], items, strict=True))
    return items if tree["type"] == "list" else tuple(items)
