"""Attempts: where Inductor specialises code for fewer sizes than declared, others are tried.

What it supposes depends on the size of the example: code for 4 may be for 1 to 16, and code for
100 for all sizes from 17 on. The attempt that accepts most is the one that is compiled.
"""

from __future__ import annotations

import contextlib
import math
import random
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from aotbuild.errors import CompileError
from aotbuild.passes.pipeline import Applied
from aotbuild.runtime.conditions import holds
from aotbuild.runtime.dims import Dim
from aotbuild.steps.artifacts.call_spec import CallSpec
from aotbuild.steps.artifacts.samples import LARGEST_INPUTS, input_bytes, nearer
from aotbuild.steps.compile.inductor import Code, Compiled
from aotbuild.steps.sizes.ranges import Ranges

_UNLIMITED = 8
"""How many times what is known to work a dimension without an upper limit is tried with."""
_FAR = 1 << 40
_SAMPLED = 4096
"""How many combinations of sizes tell how many fulfil a condition."""


@dataclass(frozen=True)
class Attempt:
    """A program, lowered for an example of these sizes."""

    sizes: dict[str, int]
    ranges: Ranges
    """What its code accepts."""
    compiled: Compiled | None
    """None where only the ranges were of interest."""
    applied: Applied = field(default_factory=Applied)
    """What passes had done to it."""
    code: Code | None = None
    """What lowering it gave."""
    aside: Sequence[str] = ()
    """What it went without, of what a torch that is not known seems to have moved."""


Lower = Callable[[dict[str, int], Callable[[Ranges], bool]], Attempt]
"""Lowers for an example of these sizes, and compiles if the function wants the ranges of that."""


def best_attempt(call: CallSpec, lower: Lower, fixed: Collection[str], *, strict: bool) -> Attempt:
    """Lower for the example, and where that narrows anything, for up to two others.

    Compiling takes several times as long as lowering, hence only the best attempt is compiled:
    the one that accepts most, of equal ones the first.

    Args:
        call: How the program is called.
        lower: Lowers and compiles it.
        fixed: Dimensions that keep the size of the example.
        strict: Whether an attempt is of no use if it accepts less than declared; it is not
            compiled then.
    """

    def accepts_all(ranges: Ranges) -> bool:
        return not is_narrower(ranges, call)

    def others(ranges: Ranges) -> list[dict[str, int]]:
        return other_sizes(call, ranges, fixed) if is_narrower(ranges, call) else []

    first = lower(
        call.example, lambda ranges: accepts_all(ranges) or not (strict or others(ranges))
    )
    if first.compiled:
        return first
    attempts = [first]
    for sizes in others(first.ranges):
        with contextlib.suppress(CompileError):  # the first attempt went well
            attempts.append(lower(sizes, accepts_all))
            if attempts[-1].compiled:
                return attempts[-1]
    best = max(attempts, key=lambda attempt: accepted(attempt.ranges))
    return best if strict else lower(best.sizes, lambda _: True)


def is_narrower(ranges: Ranges, call: CallSpec) -> bool:
    """Whether compiled code accepts less than its program does."""
    return ranges.dims != call.dims or not set(ranges.conditions) <= set(call.conditions)


def accepted(ranges: Ranges) -> float:
    """How many combinations of sizes are accepted, about."""
    sizes = {
        name: range(dim.min, (_FAR if dim.max is None else dim.max) + 1, dim.multiple_of)
        for name, dim in ranges.dims.items()
    }
    everything = float(math.prod(len(each) for each in sizes.values()))
    if not ranges.conditions:
        return everything
    generator = random.Random(0)  # noqa: S311  # the same choice in every build
    fulfilled = 0
    for _ in range(_SAMPLED):
        case = {name: generator.choice(each) for name, each in sizes.items()}
        fulfilled += all(holds(condition, case) for condition in ranges.conditions)
    return everything * fulfilled / _SAMPLED


def other_sizes(call: CallSpec, ranges: Ranges, fixed: Collection[str]) -> list[dict[str, int]]:
    """Up to two examples of other sizes than the one that gave ``ranges``.

    The dimensions that were narrowed, or are in a condition, are first in the middle of what was
    cut off, then at its far end.

    Args:
        call: How the program is called.
        ranges: What the code for the example accepts.
        fixed: Dimensions that keep the size of the example.
    """
    conditions = set(ranges.conditions) - set(call.conditions)
    words = {word for condition in conditions for word in re.findall(r"\w+", condition)}
    changed = [
        name
        for name, dim in call.dims.items()
        if name not in fixed and (name in words or ranges.dims[name] != dim)
    ]
    tried = [call.example]
    for place in range(2):
        sizes = dict(call.example)
        for name in changed:
            size = _cut_off(call.dims[name], ranges.dims[name], call.example[name])[place]
            sizes[name] = _free(size, call.dims[name], [sizes[n] for n in sizes if n != name])
        sizes = _affordable(sizes, call)
        if sizes not in tried and all(holds(condition, sizes) for condition in call.conditions):
            tried.append(sizes)
    return tried[1:]


def _cut_off(declared: Dim, compiled: Dim, example: int) -> tuple[int, int]:
    """The middle and the far end of the larger part of a range that was cut off."""
    largest = max(example, compiled.max or 0)
    last = _UNLIMITED * largest if declared.max is None else declared.max
    end = last if compiled.max is None else compiled.max
    if compiled.min - declared.min > last - end:
        return (declared.min + compiled.min) // 2, declared.min
    return (end + last + 1) // 2 if end < last else (declared.min + last) // 2, last


def _free(size: int, dim: Dim, others: Sequence[int]) -> int:
    """A size near ``size`` that an example can have, and no other dimension has.

    Of two dimensions of the same size, torch supposes that they always are.
    """
    step = dim.multiple_of
    least = -(-max(dim.min, 2 * step) // step) * step
    nearest = max(size // step * step, least)
    below = range(nearest, least - 1, -step)
    return next((other for other in below if other not in others), nearest)


def _affordable(sizes: dict[str, int], call: CallSpec) -> dict[str, int]:
    """Sizes that are nearer to the example where these would take much memory."""
    while input_bytes(call.inputs, sizes) > LARGEST_INPUTS and sizes != call.example:
        sizes = nearer(sizes, call.example, call.dims)
    return sizes
