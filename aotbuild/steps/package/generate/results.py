"""Source that rebuilds a model's result from the flat outputs of the compiled code."""

from __future__ import annotations

from typing import Any

from aotbuild.steps.package.generate.layout import Brackets, Pair, Source
from aotbuild.steps.package.generate.literals import literal
from aotbuild.steps.package.generate.names import Locals


def rebuilt(tree: dict[str, Any], local: Locals) -> Source:
    """The Python expression that rebuilds a result from the list of flat outputs."""
    kind = tree["type"]
    if kind == "tensor":
        if "input" in tree:
            position: int = tree["input"]
            return local.given[position]
        return f"{local.outputs}[{tree['index']}]"
    if kind == "int":
        return f"{local.outputs}[{tree['index']}].item()"
    if kind == "constant":
        return literal(tree["value"], local.shared.builtins["float"])
    items = [rebuilt(item, local) for item in tree["items"]]
    if kind in {"dict", "OrderedDict"}:
        keys = [literal(key) for key in tree["keys"]]
        table = Brackets("{", [Pair(*pair) for pair in zip(keys, items, strict=True)], "}")
        name = local.shared.kinds["OrderedDict"]
        return Brackets(f"{name}(", [table], ")") if kind == "OrderedDict" else table
    if kind == "namedtuple":
        return Brackets(f"{local.shared.tuples[namedtuple_key(tree)]}(", items, ")")
    if kind == "object":
        keys = [literal(key) for key in tree["fields"]]
        fields = Brackets("{", [Pair(*pair) for pair in zip(keys, items, strict=True)], "}")
        return Brackets("self._construct(", [literal(tree["class"]), fields], ")")
    return Brackets("[", items, "]") if kind == "list" else Brackets("(", items, ")")


def returned_inputs(tree: dict[str, Any]) -> set[int]:
    """The inputs that a result holds as they were given."""
    own = {tree["input"]} if "input" in tree else set()
    return own.union(*(returned_inputs(item) for item in tree.get("items", [])))


def namedtuples_of(tree: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """The namedtuple classes of a result, each once."""
    tuples = [namedtuple_key(tree)] if tree["type"] == "namedtuple" else []
    for item in tree.get("items", []):
        tuples += namedtuples_of(item)
    return list(dict.fromkeys(tuples))


def namedtuple_key(tree: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What tells one namedtuple class from another: its dotted name and its fields."""
    return tree["class"], tuple(tree["fields"])
