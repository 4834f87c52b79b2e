"""What a command shows of the steps that it has run: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from aotbuild.commands.tables import console
from aotbuild.progress.board import Board, Running
from aotbuild.progress.channel import Channel
from aotbuild.progress.durations import Durations
from aotbuild.progress.events import VARIABLE, Event
from aotbuild.progress.lines import Lines, line_of
from aotbuild.progress.words import left, passed

_BAR = 16
"""Columns of a bar."""
_ENDING = 20.0
"""Seconds for which the end of steps that were interrupted is waited for."""


class Live(ABC):
    """What is shown of steps."""

    def __init__(self) -> None:
        self._console = console()

    def say(self, text: str) -> None:
        """Show lines of text that stay.

        Args:
            text: The lines.
        """
        self._console.print(_styled(text), soft_wrap=True)
        self._console.file.flush()

    @abstractmethod
    def receive(self, event: Event, now: float) -> None:
        """Take an event.

        Args:
            event: The event.
            now: The time.
        """

    @abstractmethod
    def tick(self, now: float) -> None:
        """Show that time has passed.

        Args:
            now: The time.
        """


class _Lines(Live):
    """A line as a step begins and as it ends.

    Args:
        durations: Where the durations of the steps are kept.
    """

    def __init__(self, durations: Durations) -> None:
        super().__init__()
        self._lines = Lines(self.say, durations)

    def receive(self, event: Event, now: float) -> None:
        """Take an event.

        Args:
            event: The event.
            now: The time.
        """
        self._lines.receive(event, now)

    def tick(self, now: float) -> None:
        """Show that time has passed.

        Args:
            now: The time.
        """
        self._lines.tick(now)


class _Progress(Progress):
    """Bars that leave room for what a terminal shows of Ctrl-C: it must not begin a line."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        self._console = console  # which the tables need before all else is there
        super().__init__(*columns, console=console, transient=True)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """The bars, almost as wide as the terminal."""
        table = super().make_tasks_table(tasks)
        table.width = self._console.width - 3
        return table


class Bars(Live):
    """What is shown on a terminal: a bar for each step that runs, and one for all.

    Args:
        durations: Where the durations of the steps are kept.
    """

    def __init__(self, durations: Durations) -> None:
        super().__init__()
        self._board = Board(durations)
        self._rows: dict[str, TaskID] = {}
        fitting = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self.progress = _Progress(
            TextColumn("{task.description}", markup=False, table_column=fitting),
            BarColumn(_BAR),
            TextColumn("{task.fields[told]}", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
        )
        self._all = self.progress.add_task("all steps", total=None, told="")

    def receive(self, event: Event, now: float) -> None:
        """Take an event.

        Args:
            event: The event.
            now: The time.
        """
        step = self._board.receive(event, now)
        if step is not None and getattr(event, "id", "") not in self._board.running:
            self.say(line_of(event, step, now))
        self.tick(now)

    def tick(self, now: float) -> None:
        """Draw the bars.

        Args:
            now: The time.
        """
        board = self._board
        for key in [key for key in self._rows if key not in board.running]:
            self.progress.remove_task(self._rows.pop(key))
        for key, step in list(board.running.items()):
            if key not in self._rows:
                self._rows[key] = self.progress.add_task(step.label, total=None, told="")
            done, of = _filled(step, board.before(step.label), now)
            told = passed(now - step.since)
            if step.part:
                told = f"{step.part.name} {step.part.number} of {step.part.of}, {told}"
            self.progress.update(self._rows[key], completed=done, total=of, told=told)
        if board.planned:
            rest = board.left(now)
            told = f"{board.ended} of {board.planned}"
            told += f", {left(rest)} left" if rest else ""
            self.progress.update(self._all, completed=board.ended, total=board.planned, told=told)


def _filled(step: Running, before: float | None, now: float) -> tuple[float, float | None]:
    """How much of a step's bar is filled, and of how much; of None where that is not known."""
    if step.part:
        return step.part.number - 1, step.part.of
    if before:
        return min(now - step.since, before * 0.98), before
    return 0, None


def _styled(text: str) -> Text:
    """Lines as a terminal has them."""
    styled = Text(text)
    styled.highlight_regex(r"^aotbuild: (?=[A-Z])", "dim")
    styled.highlight_regex(r"^aotbuild: warning:", "yellow")
    styled.highlight_regex(r"(?<=: )(failed|stopped) after .*$", "red")
    styled.highlight_regex(r"(?<=: )from the cache\b", "green")
    return styled


def on_terminal(out: Console) -> bool:
    """Whether bars can be drawn: colours that are forced in a pipe make no terminal of it."""
    return sys.stdout.isatty() and not out.is_dumb_terminal


@contextlib.contextmanager
def live(package: str) -> Iterator[Live]:
    """Show the steps that are run in this block, by processes that inherit the environment.

    It ends when all of these processes have ended.

    Args:
        package: The package of its models, by which the durations of its steps are known.

    Raises:
        ConfigError: The environment has settings of the cache that mean nothing.
    """
    durations = Durations(package)
    given = os.environ.get(VARIABLE)
    bars = given != "0" and on_terminal(console())
    shown = Bars(durations) if bars else _Lines(durations)
    with contextlib.ExitStack() as stack:
        if isinstance(shown, Bars):
            stack.enter_context(shown.progress)
        if given != "0":
            with contextlib.suppress(OSError):  # then nothing of the steps is shown
                channel = Channel(shown)
                os.environ[VARIABLE] = channel.path
                stack.callback(_restore, given)
                stack.callback(channel.close, _ENDING)
        shown.tick(time.monotonic())
        yield shown


def _restore(given: str | None) -> None:
    if given is None:
        os.environ.pop(VARIABLE, None)
    else:
        os.environ[VARIABLE] = given
