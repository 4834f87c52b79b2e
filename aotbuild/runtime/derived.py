"""Constants that are computed from parameters, and computed again when those are replaced."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from .array_library import ArrayLibrary, dtype_of
from .manifest import Constant, Derivation

_MOVING = {
    "aten.cat.default",
    "aten.clone.default",
    "aten.constant_pad_nd.default",
    "aten.contiguous.default",
    "aten.flatten.using_ints",
    "aten.numpy_T.default",
    "aten.permute.default",
    "aten.reshape.default",
    "aten.slice.Tensor",
    "aten.squeeze.dim",
    "aten.stack.default",
    "aten.t.default",
    "aten.transpose.int",
    "aten.unsqueeze.default",
    "aten.view.default",
}
"""Operators that only move elements, or add zeros."""


class Derivations:
    """The constants of a model that are computed from its parameters, and how."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Constant, Derivation]] = {}

    def add(self, constant: Constant, recipe: Derivation) -> bool:
        """Add a constant; False if another one of its name is computed otherwise."""
        _, registered = self._known.setdefault(constant.fqn, (constant, recipe))
        return registered == recipe

    @property
    def keys(self) -> set[str]:
        """The keys of the parameters that anything is computed from."""
        return {key for _, recipe in self._known.values() for key in uses(recipe)}

    def combined(self, key: str) -> set[str]:
        """The keys of the other parameters that something is computed from with this one."""
        own = [uses(recipe) for _, recipe in self._known.values() if key in uses(recipe)]
        return set().union(*own) - {key}

    def anew(
        self, keys: Collection[str], value: Callable[[str], Any], arrays: ArrayLibrary
    ) -> dict[str, Any]:
        """What changes with parameters, by its name among the constants.

        Args:
            keys: The parameters that have other values.
            value: Gives any parameter by its key.
            arrays: What computes.
        """
        return {
            name: compute(recipe, value, arrays)
            for name, (_, recipe) in self._known.items()
            if not uses(recipe).isdisjoint(keys)
        }

    def recover(
        self,
        key: str,
        shapes: Mapping[str, Sequence[int]],
        stored: Callable[[Constant], Any],
        arrays: ArrayLibrary,
    ) -> Any:
        """A parameter, out of something in which its elements only have other places.

        Args:
            key: The parameter.
            shapes: The shapes of all parameters, by key.
            stored: Gives a constant as it is now, on the CPU.
            arrays: What computes.

        Returns:
            The parameter; None where there is nothing of that kind.
        """
        for constant, recipe in self._known.values():
            if key in uses(recipe):
                parameter = recover(recipe, key, shapes, stored(constant), arrays)
                if parameter is not None:
                    return parameter
        return None


def uses(recipe: Any) -> set[str]:
    """The keys of the parameters that something is computed from."""
    return set(_tensors(recipe))


def renamed(recipe: Any, names: Mapping[str, str]) -> Any:
    """A recipe with other names of parameters."""
    if isinstance(recipe, list):
        return [renamed(each, names) for each in recipe]
    if not isinstance(recipe, dict):
        return recipe
    if "tensor" in recipe:
        return {"tensor": names[recipe["tensor"]]}
    return {key: renamed(each, names) for key, each in recipe.items()}


def compute(recipe: Any, value: Callable[[str], Any], arrays: ArrayLibrary) -> Any:
    """Compute a constant, or an argument of an operator.

    Args:
        recipe: How.
        value: Gives a parameter by its key.
        arrays: What computes.

    Raises:
        StateDictError: It lacks an operator.
    """
    if isinstance(recipe, list):
        return [compute(each, value, arrays) for each in recipe]
    if not isinstance(recipe, dict):
        return recipe
    if "tensor" in recipe:
        return value(recipe["tensor"])
    if "op" not in recipe:
        (word,) = recipe.values()
        return arrays.word(word)
    operator = arrays.operator(recipe["op"])
    args = [compute(each, value, arrays) for each in recipe["args"]]
    kwargs = {key: compute(each, value, arrays) for key, each in recipe.get("kwargs", {}).items()}
    return operator(*args, **kwargs)


def recover(
    recipe: Derivation,
    key: str,
    shapes: Mapping[str, Sequence[int]],
    constant: Any,
    arrays: ArrayLibrary,
) -> Any:
    """A parameter out of a constant that was computed from it.

    Args:
        recipe: How it was computed.
        key: The parameter.
        shapes: The shapes of all parameters, by key.
        constant: What was computed.
        arrays: What computes.

    Returns:
        The parameter; None where its elements were not only moved.
    """
    if not only_moves(recipe):
        return None
    # Numbers instead of the elements tell where each of them went.
    count = math.prod(shapes[key])
    numbers = arrays.numbers(shapes[key])
    others = {other: arrays.zeros(shapes[other], "int64") for other in uses(recipe)}
    moved = compute(recipe, lambda name: numbers if name == key else others[name], arrays)
    there = moved > 0
    places = moved[there] - 1
    found = arrays.zeros([count], "bool")
    found[places] = True
    if not found.all():
        return None
    parameter = arrays.zeros([count], dtype_of(constant))
    parameter[places] = constant[there]
    return parameter.reshape(tuple(shapes[key]))


def _tensors(recipe: Any) -> Iterator[str]:
    if isinstance(recipe, list):
        for each in recipe:
            yield from _tensors(each)
    elif isinstance(recipe, dict):
        if "tensor" in recipe:
            yield recipe["tensor"]
        for each in [*recipe.get("args", []), *recipe.get("kwargs", {}).values()]:
            yield from _tensors(each)


def only_moves(recipe: Any) -> bool:
    """Whether what is computed so has the elements of parameters in other places, and no others."""
    if isinstance(recipe, list):
        return all(map(only_moves, recipe))
    if not isinstance(recipe, dict) or "tensor" in recipe:
        return True
    if "op" not in recipe:
        return True
    if recipe["op"] not in _MOVING:
        return False
    padding = recipe["args"][2:] if recipe["op"] == "aten.constant_pad_nd.default" else []
    if any(padding):  # which would be taken for an element
        return False
    return all(map(only_moves, [*recipe["args"], *recipe.get("kwargs", {}).values()]))
