"""Steps in a row: a model run on a sequence, in C where the engine can."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from . import engine_arrays
from .arguments import nest
from .arrays import exported, imported, library_of, namespace_of, steps_of
from .checks import kind_of, label_of, shape_of
from .lazy import is_numpy, is_tensor, torch
from .manifest import Manifest
from .model_state import ModelState


def scan(
    model: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    state: Any,
    on_step: Callable[[Any], object] | None,
) -> Any:
    """Run a model on a sequence of steps; see ``CompiledModel.scan``.

    Args:
        model: The model.
        args: Its positional arguments, each tensor with the steps along its first axis.
        kwargs: Its keyword arguments, likewise.
        state: What it keeps between the steps.
        on_step: Called with the result of each step, in place of collecting them.
    """
    manifest: Manifest = model._manifest
    values = _bound(model, args, kwargs)
    nested = nest(manifest, tuple(values.values()))
    flat: list[Any] = []
    for tree, value in zip(manifest.parameters.values(), nested, strict=True):
        _pick(tree, value, flat)
    stepped = [i not in manifest.changed for i in range(len(flat))]
    flat = [
        steps_of(manifest, spec, value) if each else value
        for spec, value, each in zip(manifest.inputs, flat, stepped, strict=False)
    ]
    steps = _count(manifest, flat, stepped)
    if state is None and manifest.held:
        state = model.new_state(**model._states_of_calls().sizes(_step(flat, stepped, 0)))
    if on_step is None and model._scan is not None:
        outputs = _in_c(model, flat, stepped, steps, state)
        if outputs is not None:
            return _rebuilt(model, manifest.outputs, outputs, steps)
    keywords = {"state": state} if manifest.held else {}
    results = []
    for step in range(steps):
        one = iter(_step(flat, stepped, step))
        trees = zip(manifest.parameters.items(), nested, strict=True)
        given = {name: _with(tree, value, one) for (name, tree), value in trees}
        result = _called(model, given, keywords)
        if on_step is None:
            results.append(result)
        else:
            on_step(result)
    return None if on_step is not None else _stacked(results)


def _bound(model: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The argument of each parameter.

    Raises:
        TypeError: One is missing or unknown.
    """
    manifest: Manifest = model._manifest
    call = getattr(type(model), "_checked", type(model).__call__)
    signature = inspect.signature(call)
    shown = [p for n, p in signature.parameters.items() if n in manifest.parameters]
    try:
        bound = signature.replace(parameters=shown).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{manifest.name}.scan(): {error}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def _pick(tree: dict[str, Any], value: Any, flat: list[Any]) -> None:
    """Add the tensors of an argument, in the order of the inputs."""
    if tree["type"] == "tensor":
        flat.append(value)
    elif "items" in tree:
        parts = value.values() if isinstance(value, dict) else value
        for item, part in zip(tree["items"], parts, strict=True):
            _pick(item, part, flat)


def _with(tree: dict[str, Any], value: Any, flat: Any) -> Any:
    """An argument with other tensors in the places of its own."""
    if tree["type"] == "tensor":
        return next(flat)
    if "items" not in tree:
        return value
    parts = value.values() if isinstance(value, dict) else value
    made = [_with(item, part, flat) for item, part in zip(tree["items"], parts, strict=True)]
    if tree["type"] == "dict":
        return dict(zip(tree["keys"], made, strict=True))
    return tuple(made) if tree["type"] == "tuple" else made


def _called(model: Any, given: dict[str, Any], keywords: dict[str, Any]) -> Any:
    """Call a model with the argument of each parameter."""
    args: list[Any] = []
    named = dict(keywords)
    for name, tree in model._manifest.parameters.items():
        kind = tree.get("kind", "")
        if kind in {"", "positional-only"}:
            args.append(given[name])
        elif kind == "var-positional":
            args += given[name]
        elif kind == "var-keyword":
            named.update(given[name])
        else:
            named[name] = given[name]
    return model(*args, **named)


def _count(manifest: Manifest, flat: Sequence[Any], stepped: Sequence[bool]) -> int:
    """How many steps there are.

    Raises:
        TypeError: An argument is no array, or no argument has steps.
        ValueError: Arguments have different numbers of steps, or there is none.
    """
    found: dict[str, int] = {}
    for spec, value, each in zip(manifest.inputs, flat, stepped, strict=False):
        if not each:
            continue
        shape = shape_of(value) if hasattr(type(value), "__dlpack__") else None
        if not shape:
            raise TypeError(
                f"{label_of(manifest, spec)} must have the steps along its first axis, got "
                f"{kind_of(value) if shape is None else 'an array without axes'}"
            )
        found[spec.name] = shape[0]
    if not found:
        raise TypeError(f"{manifest.name}.scan(): no argument has steps; call the model itself")
    if len(set(found.values())) > 1:
        told = ", ".join(f"{count} in {name!r}" for name, count in found.items())
        raise ValueError(f"{manifest.name}.scan(): the numbers of steps differ: {told}")
    steps = next(iter(found.values()))
    if not steps:
        raise ValueError(f"{manifest.name}.scan(): there are no steps")
    return steps


def _step(flat: Sequence[Any], stepped: Sequence[bool], step: int) -> list[Any]:
    """The tensors of one step."""
    return [_at(v, step) if each else v for v, each in zip(flat, stepped, strict=True)]


def _at(value: Any, step: int) -> Any:
    """What a sequence has for a step."""
    return engine_arrays.step_of(value, step) if engine_arrays.is_array(value) else value[step]


def _in_c(
    model: Any, flat: Sequence[Any], stepped: Sequence[bool], steps: int, state: Any
) -> list[Any] | None:
    """The outputs of all steps, run by the engine; None where it cannot."""
    arrays = [_exported(value) for value in flat]
    if any(value is None for value in arrays):
        return None
    manifest: Manifest = model._manifest
    if any(i < len(flat) for i in manifest.changed):
        model._check_written(*flat)
    if not manifest.held:
        outputs = _scanned(model, arrays, stepped, steps)
    else:
        first = _step(flat, stepped, 0)
        held = model._hold_state(state, *first)
        try:
            if isinstance(state, ModelState):
                model._states_of_calls().check_room(state, first, steps)
            tensors = [_exported(tensor) for tensor in held.tensors]
            if any(tensor is None for tensor in tensors):
                return None
            flags = [*stepped, *(False for _ in tensors)]
            outputs = _scanned(model, [*arrays, *tensors], flags, steps)
        except (IndexError, MemoryError, RuntimeError):
            held.fail()
            raise
        finally:
            held.release()
    if outputs is None:
        return None
    if any(map(is_tensor, flat)):
        return [torch.utils.dlpack.from_dlpack(output) for output in outputs]
    library = library_of(flat)
    return [imported(manifest, output, library) for output in outputs]


def _scanned(
    model: Any, arrays: list[Any], stepped: Sequence[bool], steps: int
) -> list[Any] | None:
    try:
        outputs: list[Any] | None = model._scan(arrays, bytes(stepped), steps)
    except RuntimeError as error:
        raise model._failure(error) from error
    return outputs


def _exported(value: Any) -> Any:
    """An array as the engine takes it; None for what it does not."""
    if is_tensor(value):
        plain = type(value) in {torch.Tensor, torch.nn.Parameter} and value.is_cpu
        if not plain or value.layout is not torch.strided or value.is_conj() or value.is_neg():
            return None
        return value.detach().__dlpack__()
    return exported(value)


def _rebuilt(model: Any, tree: dict[str, Any], outputs: Sequence[Any], steps: int) -> Any:
    """The result of all steps, nested as that of one."""
    kind = tree["type"]
    if kind == "tensor":
        return outputs[tree["index"]]
    if kind == "int":
        return [int(number) for number in outputs[tree["index"]].tolist()]
    if kind == "constant":
        return tree["value"]
    items = [_rebuilt(model, item, outputs, steps) for item in tree["items"]]
    if kind in {"dict", "OrderedDict"}:
        return dict(zip(tree["keys"], items, strict=True))
    if kind in {"object", "namedtuple"}:
        return dict(zip(tree["fields"], items, strict=True))
    return tuple(items) if kind == "tuple" else items


def _stacked(results: Sequence[Any]) -> Any:
    """The results of all steps as one, with the steps along the first axis of each tensor."""
    first = results[0]
    if is_tensor(first):
        return torch.stack(list(results))
    if engine_arrays.is_array(first):
        return engine_arrays.stack(results)
    if isinstance(first, dict):
        return {key: _stacked([result[key] for result in results]) for key in first}
    if isinstance(first, tuple | list):
        parts = [_stacked(part) for part in zip(*results, strict=True)]
        return tuple(parts) if isinstance(first, tuple) else parts
    if is_numpy(first) or hasattr(type(first), "__array_namespace__"):
        return namespace_of(first).stack(list(results))
    return first if first is None or isinstance(first, str | bool | float) else list(results)
