"""Calls and sizes in words, as tables show them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aotbuild.progress.words import size

if TYPE_CHECKING:
    from aotbuild.runtime.dims import Dim, Size
    from aotbuild.runtime.manifest import Input

__all__ = ["call_rows", "duration", "returns", "short", "size", "takes"]


def takes(
    inputs: Iterable[Input], in_spec: Mapping[str, Any], dims: Mapping[str, Dim]
) -> list[str]:
    """A line for each thing that a model takes, such as ``x float32 [rows 1 to 8, 3]``.

    Args:
        inputs: Its tensors.
        in_spec: How its arguments nest, for the constants among them.
        dims: The ranges of the dimensions.
    """
    tensors = [f"{spec.name} {spec.dtype} {_shape(spec.shape, dims)}" for spec in inputs]
    constants = _constants(in_spec["keys"], in_spec["items"])
    return tensors + [f"{label} = {value!r}" for label, value in constants]


def returns(tree: Mapping[str, Any], label: str = "") -> Iterator[str]:
    """A line for each thing that a model returns.

    Args:
        tree: How its outputs nest.
        label: Where in them this is.
    """
    prefix = f"{label} " if label else ""
    if tree["type"] == "tensor":
        yield f"{prefix}{tree['dtype']} [{', '.join(map(str, tree['shape']))}]"
    elif tree["type"] == "constant":
        yield f"{prefix}{'=' if label else ''} {tree['value']!r}".strip()
    elif "items" not in tree:
        yield f"{prefix}{tree['type']}"
    else:
        names = tree.get("keys") or tree.get("fields") or range(len(tree["items"]))
        for name, item in zip(names, tree["items"], strict=True):
            yield from returns(item, f"{label}.{name}" if label else str(name))


def call_rows(
    before: Sequence[str], given: Iterable[str], returned: Iterable[str], after: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """The rows of a model in a table: one for each thing that it takes or returns.

    Args:
        before: The cells before these, which the first row has.
        given: What ``takes`` gives.
        returned: What ``returns`` gives.
        after: The cells after them.
    """
    for each in itertools.zip_longest(given, returned, fillvalue=""):
        yield *before, *each, *after
        before, after = ("",) * len(before), ("",) * len(after)


def duration(seconds: float) -> str:
    """A time with three digits, such as ``12.3 us``."""
    units = (("s", 1.0), ("ms", 1e3), ("us", 1e6))
    unit, factor = next((each for each in units if seconds * each[1] >= 1), units[-1])
    value = seconds * factor
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def short(digest: str) -> str:
    """The first digits of a digest."""
    return f"{digest[:12]}..."


def _shape(shape: Sequence[Size], dims: Mapping[str, Dim]) -> str:
    """A shape with the range of each dimension behind its name."""
    sizes = [
        f"{each} {dims[each]}" if isinstance(each, str) and each in dims else str(each)
        for each in shape
    ]
    return f"[{', '.join(sizes)}]"


def _constants(
    labels: Sequence[Any], trees: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Any]]:
    for label, tree in zip(labels, trees, strict=True):
        if tree["type"] == "constant":
            yield str(label), tree["value"]
        elif "items" in tree:
            keys = tree.get("keys", range(len(tree["items"])))
            yield from _constants([f"{label}[{key!r}]" for key in keys], tree["items"])
