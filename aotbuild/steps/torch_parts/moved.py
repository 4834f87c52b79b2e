"""Which private parts of torch have moved, and what a build does about it.

A build looks for them once, before it uses them. What is required stops it, with one message; what
is not steps aside, which the log tells in one line.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from aotbuild.errors import CompileError
from aotbuild.steps.torch_parts import compiling, exporting, kernels, running
from aotbuild.steps.torch_parts.part import COMPILE, EXPORT, NEWEST, SEEN, Part, Use, torch_version

USES: dict[str, Use] = {
    use.name: use for module in (exporting, compiling, kernels, running) for use in module.USES
}
"""All of them, by name."""

_SHOWN = 3


@dataclass(frozen=True)
class Moved:
    """A use of which this torch lacks parts."""

    use: Use
    parts: Sequence[Part]


@functools.cache
def moved(when: str = "") -> tuple[Moved, ...]:
    """What this torch lacks; Inductor is imported for what is used while compiling.

    Args:
        when: Of what is used then, and before; of everything if empty.
    """
    wanted = {EXPORT: (EXPORT,), COMPILE: (EXPORT, COMPILE)}.get(when)
    found = []
    for use in USES.values():
        looked = use.missing() if wanted is None or use.when in wanted else []
        parts = [part for part in looked if part.is_expected()]
        if parts:
            found.append(Moved(use, parts))
    return tuple(found)


def is_known() -> bool:
    """Whether aotbuild has been tested with this version of torch, or with a newer one."""
    return Version(torch_version()).release[:2] <= Version(NEWEST).release[:2]


@functools.cache
def usable(name: str) -> bool:
    """Whether this torch has all parts of a use, by its name.

    Raises:
        KeyError: No table has it.
    """
    return not USES[name].missing()


def where_usable(
    name: str, patch: Callable[[], AbstractContextManager[Any]]
) -> AbstractContextManager[Any]:
    """A patch of torch, or nothing where it lacks what that needs.

    Args:
        name: The name of the use.
        patch: Makes the context in which torch is patched.
    """
    return patch() if usable(name) else contextlib.nullcontext()


def check_parts(when: str) -> None:
    """Make sure that this torch has what nothing can be built without.

    Args:
        when: What is to be done: ``EXPORT`` or ``COMPILE``.

    Raises:
        CompileError: It has not.
    """
    gone = [each for each in moved(when) if each.use.required]
    if gone:
        raise CompileError(
            f"this aotbuild cannot build with torch {torch_version()}",
            why="\n".join(
                f"{_listed(each.parts)} moved, by which aotbuild {each.use.does}" for each in gone
            ),
            fix=f"install a newer aotbuild, or a torch that this one knows: {SEEN}",
        )


def passes_aside() -> set[str]:
    """The names of the passes that this torch lacks something for."""
    return {name for each in moved(COMPILE) for name in each.use.passes}


def aside() -> list[str]:
    """The names of what steps aside in builds with this torch, without messages of its own."""
    return [each.use.name for each in moved(COMPILE) if not each.use.required]


def told_aside(uses: Iterable[str]) -> str:
    """The line of the log about what stepped aside; empty where nothing did.

    Args:
        uses: Names of uses, as ``aside`` gave them.
    """
    wanted = dict.fromkeys(uses)
    if not wanted:
        return ""
    # Variants of a cache tell what was missing when they were compiled: by the same torch.
    without = dict.fromkeys(USES[name].without for name in wanted if name in USES)
    return (
        f"aotbuild: torch {torch_version()} has moved what this aotbuild uses for "
        f"{', '.join(wanted)}: {'; '.join(without)}. python -m aotbuild check --torch tells more"
    )


def table(*, everything: bool) -> str:
    """What aotbuild uses of torch's private parts, one line each.

    Args:
        everything: Whether to tell also what is there, and each part by its name.
    """
    lacking = {each.use.name: each for each in moved()}
    lines = []
    for use in USES.values():
        gone = lacking.get(use.name)
        if gone is None and not everything:
            continue
        state = "is there" if usable(use.name) else "is of a newer torch"
        if gone is not None:
            state = f"lacks {_listed(gone.parts, len(gone.parts))}"
        weight = "required" if use.required else use.without
        lines.append(f"{use.name}: {state} ({use.when}; aotbuild {use.does}; without: {weight})")
        if everything:
            lines += [
                f"  {'+' if part.is_there() else '-'} {part}"
                + (f" (since torch {part.since})" if part.since else "")
                for part in use.parts
            ]
    return "\n".join(lines)


def _listed(parts: Sequence[Part], most: int = _SHOWN) -> str:
    rest = len(parts) - most
    return ", ".join([*map(str, parts[:most]), *([f"{rest} more"] if rest > 0 else [])])
