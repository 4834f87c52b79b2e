"""Compiling without kernels of aotbuild, where a torch that it does not know fails with them.

The tables of ``aotbuild.steps.torch_parts`` tell which names have moved; what a name means may have
changed, too. A build is right and slower then, and its log says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection

from aotbuild.errors import CompileError
from aotbuild.steps.compile.attempts import Attempt, Lower
from aotbuild.steps.sizes.ranges import Ranges
from aotbuild.steps.torch_parts.kernels import KERNELS
from aotbuild.steps.torch_parts.moved import is_known, passes_aside

LowerWithout = Callable[[dict[str, int], Callable[[Ranges], bool], Collection[str]], Attempt]
"""``Lower`` that is also told which passes step aside."""


def stepping_aside(lowered: LowerWithout) -> Lower:
    """What lowers a program, without kernels if it has to.

    Args:
        lowered: Lowers it without some passes.
    """

    def lower(sizes: dict[str, int], wanted: Callable[[Ranges], bool]) -> Attempt:
        aside = passes_aside()
        try:
            return lowered(sizes, wanted, aside)
        except CompileError as error:
            if is_known() or aside.issuperset(KERNELS.passes):
                raise
            with contextlib.suppress(CompileError):  # the first error is the one to tell
                attempt = lowered(sizes, wanted, {*aside, *KERNELS.passes})
                return dataclasses.replace(attempt, aside=[KERNELS.name])
            raise error from None

    return lower
