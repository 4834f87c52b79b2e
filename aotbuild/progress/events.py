"""What the processes of a build tell of their work: a line of JSON for each event.

Telling costs some microseconds, and nothing where nobody listens. What goes wrong with it is no
matter of the build.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from aotbuild.errors import INTERRUPTED

VARIABLE = "AOTBUILD_PROGRESS"
"""``0`` for a build that tells nothing; the steps of others find in it the path of the pipe."""


@dataclass(frozen=True)
class Planned:
    """The build is planned."""

    labels: Sequence[str]
    """Its steps, as ``Started`` will name them."""
    jobs: int
    """How many run at once, at most."""


@dataclass(frozen=True)
class Started:
    """A step has begun."""

    id: str
    """What tells it from others: of a step of the build, its specification file."""
    label: str
    """What it does, such as ``Exporting net``."""


@dataclass(frozen=True)
class Part:
    """A step has come to one of its parts."""

    id: str
    name: str
    """Such as ``recipe``."""
    number: int
    of: int


@dataclass(frozen=True)
class Cached:
    """The cache has what a step would make."""

    id: str


@dataclass(frozen=True)
class Ended:
    """A step has ended."""

    id: str
    size: int = 0
    """Bytes of what it made; 0 where that is of no interest."""
    failed: str = ""
    """``failed`` or ``stopped`` where it did not come to its end."""


Event: TypeAlias = Planned | Started | Part | Cached | Ended

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (Planned, Started, Part, Cached, Ended)}


def text_of(event: Event) -> str:
    """An event as a line."""
    return json.dumps({"event": type(event).__name__, **dataclasses.asdict(event)})


def event_of(line: str) -> Event | None:
    """The event that a line tells; None where it tells none, as one of another aotbuild may."""
    try:
        table = json.loads(line)
        event: Event = _KINDS[table.pop("event")](**table)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return event


def heard() -> bool:
    """Whether somebody listens."""
    return _pipe(os.environ.get(VARIABLE, "")) is not None


def tell(event: Event) -> None:
    """Tell an event, if somebody listens."""
    pipe = _pipe(os.environ.get(VARIABLE, ""))
    if pipe is not None:
        with contextlib.suppress(OSError):  # nobody listens any more
            os.write(pipe, f"{text_of(event)}\n".encode())


def over() -> bool:
    """Whether the build that this process is of has ended, as far as it can be known."""
    path = os.environ.get(VARIABLE, "")
    return os.path.isabs(path) and not os.path.exists(path)  # noqa: PTH110, PTH117


@functools.cache
def _pipe(path: str) -> int | None:
    """The pipe, which stays open: who listens knows by that which processes are still there."""
    if not os.path.isabs(path):  # noqa: PTH117  # in hooks and steps, milliseconds count
        return None
    try:
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
        os.close(pipe)
        return None
    os.set_blocking(pipe, True)
    return pipe


_current = ""


def at_work(step: str) -> None:
    """Note which step this process runs, so that its parts are told as those of it.

    Args:
        step: Its ``id``.
    """
    global _current  # noqa: PLW0603  # a process runs one
    _current = step


def part(name: str, number: int, of: int) -> None:
    """Tell that the step of this process has come to a part.

    Args:
        name: What the parts are, such as ``recipe``.
        number: Which of them it is, from 1 on.
        of: How many there are.
    """
    tell(Part(_current, name, number, of))


class Work:
    """What is known of a step before it ends."""

    size = 0
    """Bytes of what it made."""
    cached = False
    """Whether the cache had what it makes."""


_work = Work()


def cached() -> None:
    """Tell that the cache has what the step of this process makes."""
    _work.cached = True
    tell(Cached(_current))


@contextlib.contextmanager
def told(step: str, label: str) -> Iterator[Work]:
    """Tell that a step begins, and that it ends, also by an error.

    Args:
        step: Its ``id``.
        label: What it does; nothing is told where it is empty.
    """
    global _work  # noqa: PLW0603  # a process runs one
    _work = work = Work()
    if not label or not heard():
        yield work
        return
    at_work(step)
    tell(Started(step, label))
    failed = "failed"
    try:
        yield work
        failed = ""
    except KeyboardInterrupt:
        failed = "stopped"
        raise
    except SystemExit as error:
        if error.code in {None, 0, INTERRUPTED}:
            failed = "stopped" if error.code else ""
        raise
    finally:
        tell(Ended(step, work.size, failed))
