"""Ranges to declare in place of one of which some sizes behave in another way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from aotbuild.runtime.dims import Dim


def partial_range(dim: Dim, tried: Sequence[int], alike: Sequence[int]) -> Dim | None:
    """A range of sizes that behave alike, where there is one that is worth it.

    It is the longest one of those like the example, or, of a model that asks whether a size is a
    multiple, the multiples.

    Args:
        dim: The declared range.
        tried: The sizes of it that were tried.
        alike: Those of them that behave as the example does.
    """
    other = set(tried) - set(alike)
    for sizes in (_longest_run(alike, dim.multiple_of), sorted(other)):
        steps = {high - low for low, high in pairwise(sizes)}
        if len(steps) != 1 or (2 * len(sizes) < len(tried) and steps == {dim.multiple_of}):
            continue
        step = steps.pop()
        if sizes[0] % step:
            continue
        # The last size that was tried stands for the declared end.
        high = dim.max if sizes[-1] + step > tried[-1] else sizes[-1]
        low = dim.min if sizes[0] == tried[0] and step == dim.multiple_of else sizes[0]
        if step > dim.multiple_of and sizes[0] == 2 * step and dim.min <= step:
            low = step  # one step, which tracing supposes does not occur
        return Dim(low, None if high is None else high - high % step, step)
    return None


def as_toml(name: str, dim: Dim) -> str:
    """The declaration of a dimension."""
    limit = "" if dim.max is None else f", max = {dim.max}"
    multiple = "" if dim.multiple_of == 1 else f", multiple-of = {dim.multiple_of}"
    return f"{name} = {{ min = {dim.min}{limit}{multiple} }}"


def _longest_run(sizes: Sequence[int], step: int) -> list[int]:
    best: list[int] = []
    run: list[int] = []
    for size in sizes:
        run = [*run, size] if run and size - run[-1] == step else [size]
        best = max(best, run, key=len)
    return best
