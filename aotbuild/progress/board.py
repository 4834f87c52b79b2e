"""What runs in a build, since when, and how long the rest takes."""

from __future__ import annotations

from dataclasses import dataclass

from aotbuild.progress.durations import Durations
from aotbuild.progress.events import Cached, Ended, Event, Part, Planned, Started


@dataclass
class Running:
    """A step that runs."""

    label: str
    since: float
    told: float
    """When something was last told of it."""
    part: Part | None = None
    cached: bool = False


class Board:
    """The steps of a build.

    Args:
        durations: How long they took before; what they take now is added.
    """

    def __init__(self, durations: Durations | None = None) -> None:
        self._durations = durations
        self.running: dict[str, Running] = {}
        self.waiting: list[str] = []
        """The labels of planned steps that have not begun."""
        self.planned = 0
        self.ended = 0
        """How many of the planned steps have ended."""
        self.jobs = 1

    def receive(self, event: Event, now: float) -> Running | None:
        """Note an event.

        Args:
            event: The event.
            now: The time.

        Returns:
            The step that it is about, which may have ended by it; None where it is about none that
            is known.
        """
        if isinstance(event, Planned):
            self.waiting, self.jobs = list(event.labels), event.jobs
            self.planned, self.ended = len(event.labels), 0
            return None
        if isinstance(event, Started):
            if event.label in self.waiting:
                self.waiting.remove(event.label)
            self.running[event.id] = Running(event.label, now, now)
            return self.running[event.id]
        step = self.running.get(event.id)
        if step is None:
            return None
        step.told = now
        if isinstance(event, Part):
            step.part = event
        elif isinstance(event, Cached):
            step.cached = True
        else:
            self._end(event, step, now)
        return step

    def _end(self, event: Ended, step: Running, now: float) -> None:
        del self.running[event.id]
        self.ended += 1
        if self._durations and not event.failed and not step.cached:
            self._durations.note(step.label, now - step.since)

    def before(self, label: str) -> float | None:
        """How long a step took when it last ran; None where that is not known."""
        return self._durations.before(label) if self._durations else None

    def left(self, now: float) -> float | None:
        """How many seconds the planned steps take if none is in the cache.

        Args:
            now: The time.

        Returns:
            The seconds; None where it is not known how long one of them takes.
        """
        rest = [(label, 0.0) for label in self.waiting]
        rest += [(step.label, now - step.since) for step in self.running.values()]
        seconds = []
        for label, passed in rest:
            whole = self.before(label)
            if whole is None:
                return None
            seconds.append(max(0.0, whole - passed))
        return max(sum(seconds) / self.jobs, *seconds) if seconds else None
