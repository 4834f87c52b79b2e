"""Names for what a generated module uses.

Models, inputs and dimensions have the names that a project gives them; everything else that a
generated module needs steps aside for those.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


class Names:
    """Hands out names that are not taken, with underscores behind them where they must be."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {"self", *taken}

    def take(self, name: str) -> str:
        """``name``, or what is free and like it."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def inner(self) -> Names:
        """Names for one function: its own are free again in the next."""
        return Names(self._taken)


@dataclass(frozen=True)
class Shared:
    """The names by which a module knows what it uses."""

    torch: Mapping[str, str]
    builtins: Mapping[str, str]
    kinds: Mapping[str, str]
    tuples: Mapping[tuple[str, tuple[str, ...]], str]


@dataclass(frozen=True)
class Locals:
    """The names that one method uses."""

    shared: Shared
    values: Sequence[str]
    """A variable for each of the manifest's inputs."""
    shapes: Sequence[str]
    """A variable for the shape of each."""
    given: Sequence[str]
    """A variable for each value as it was given, where the result holds it."""
    fits: str
    """A variable for whether all checks hold."""
    outputs: str
    error: str
    modes: str
    """A function that tells whether a mode is active that the compiled code would run into."""


def aliased(name: str, alias: str) -> str:
    """What an import statement writes to know ``name`` by ``alias``."""
    return name if name == alias else f"{name} as {alias}"


def class_name(model: str) -> str:
    """The name of the class of a model or method, such as ``NetEncode`` of ``net.encode``."""
    name = "".join(part[:1].upper() + part[1:] for part in re.split("[_.]", model))
    return f"{name}Model" if name == model or keyword.iskeyword(name) else name


def last_part(dotted: str) -> str:
    """``Name`` of ``module:Outer.Name``."""
    return re.split(r"[.:]", dotted)[-1]
