"""What runs in a build, as lines of a log: when a step begins, when it ends, and in between."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from aotbuild.progress.board import Board, Running
from aotbuild.progress.durations import Durations
from aotbuild.progress.events import Ended, Event, Part, Planned, Started
from aotbuild.progress.words import passed, size

WIDTH = 78
"""The longest line: pip puts two blanks before each of 80 columns."""

SILENCE = 15.0
"""Seconds after which a step that has told nothing gets a line."""


class Lines:
    """A listener that writes lines.

    Args:
        write: Writes a line.
        durations: Where the durations of the steps are kept.
    """

    def __init__(self, write: Callable[[str], None], durations: Durations | None = None) -> None:
        self._write = write
        self._board = Board(durations)

    def receive(self, event: Event, now: float) -> None:
        """Write what an event tells.

        Args:
            event: The event.
            now: The time.
        """
        text = line_of(event, self._board.receive(event, now), now)
        if text:
            self._say(text)

    def tick(self, now: float) -> None:
        """Write a line about each step that has told nothing for a while.

        Args:
            now: The time.
        """
        for step in self._board.running.values():
            if now - step.told > SILENCE:
                step.told = now
                self._say(line(step.label, *_part(step), f"{passed(now - step.since)} so far"))

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            self._write(text)


def line_of(event: Event, step: Running | None, now: float) -> str:
    """What a log says of an event; empty where it says nothing.

    Args:
        event: The event.
        step: The step that it is about, once that has been noted.
        now: The time.
    """
    if isinstance(event, Planned):
        steps = "1 step" if len(event.labels) == 1 else f"{len(event.labels)} steps"
        return line(f"{steps}, {event.jobs} at once")
    if step is None:
        return ""
    if isinstance(event, Started):
        return line(step.label)
    if isinstance(event, Part):
        return line(step.label, *_part(step))
    if not isinstance(event, Ended):
        return ""
    time = passed(now - step.since)
    if event.failed:
        return line(step.label, f"{event.failed} after {time}")
    made = [size(event.size)] if event.size else []
    return line(step.label, f"from the cache in {time}" if step.cached else f"{time}", *made)


def line(label: str, *facts: str) -> str:
    """A line about a step, of which a long name is shortened.

    Args:
        label: What the step does.
        facts: What is told of it.
    """
    rest = f": {', '.join(facts)}" if facts else ""
    room = WIDTH - len("aotbuild: ") - len(rest)
    short = label if len(label) <= room else f"{label[: room - 3]}..."
    return f"aotbuild: {short}{rest}"


def _part(step: Running) -> list[str]:
    part = step.part
    return [f"{part.name} {part.number} of {part.of}"] if part else []
