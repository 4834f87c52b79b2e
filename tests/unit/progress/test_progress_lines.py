"""What a build shows of its steps, as lines of a log, and how long the rest takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from aotbuild.progress.board import Board
from aotbuild.progress.durations import Durations
from aotbuild.progress.events import Cached, Ended, Event, Part, Planned, Started
from aotbuild.progress.lines import WIDTH, Lines
from aotbuild.progress.words import left, passed, size

EXPORT, COMPILE = "Exporting net", "Compiling net for cpu-x86-64-v3"


class Log:
    """A log with a clock of its own."""

    def __init__(self, durations: Durations | None = None) -> None:
        self.lines: list[str] = []
        self.shown = Lines(self.lines.append, durations)
        self.now = 1000.0

    def after(self, seconds: float, *events: Event) -> list[str]:
        """What is written once so much time has passed and these events have come."""
        self.now += seconds
        for event in events:
            self.shown.receive(event, self.now)
        self.shown.tick(self.now)
        said, self.lines[:] = [*self.lines], []
        return said


def test_a_line_tells_that_a_step_begins_and_that_it_ends() -> None:
    log = Log()
    assert log.after(0, Planned([EXPORT, COMPILE], 2)) == ["aotbuild: 2 steps, 2 at once"]
    assert log.after(0, Started("a", EXPORT)) == ["aotbuild: Exporting net"]
    assert log.after(3, Started("b", COMPILE)) == [f"aotbuild: {COMPILE}"]
    assert log.after(0.21, Ended("a", 1_250_000)) == ["aotbuild: Exporting net: 3.2 s, 1.2 MB"]
    assert log.after(4, Ended("b", failed="failed")) == [f"aotbuild: {COMPILE}: failed after 4.2 s"]


def test_a_line_tells_of_the_cache() -> None:
    log = Log()
    log.after(0, Started("a", COMPILE))
    assert log.after(0.12, Cached("a"), Ended("a", 327_600)) == [
        f"aotbuild: {COMPILE}: from the cache in 0.1 s, 327.6 kB"
    ]


def test_a_step_that_tells_nothing_has_a_line_every_fifteen_seconds() -> None:
    log = Log()
    log.after(0, Started("a", COMPILE))
    assert log.after(15) == []
    assert log.after(0.5) == [f"aotbuild: {COMPILE}: 16 s so far"]
    assert log.after(15) == []
    assert log.after(50) == [f"aotbuild: {COMPILE}: 1 min 20 s so far"]
    log.after(1, Ended("a"))
    assert log.after(100) == []


def test_parts_of_a_step_are_told() -> None:
    log = Log()
    log.after(0, Started("a", "Tuning net for cpu-x86-64-v3"))
    begun = "aotbuild: Tuning net for cpu-x86-64-v3: recipe 2 of 5"
    assert log.after(14, Part("a", "recipe", 2, 5)) == [begun]
    assert log.after(14) == []
    assert log.after(2) == [f"{begun}, 30 s so far"]


def test_what_is_of_no_step_is_left_aside() -> None:
    log = Log()
    assert log.after(0, Part("x", "recipe", 1, 2), Cached("x"), Ended("x")) == []


def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    def closed(_: str) -> None:
        raise BrokenPipeError

    shown = Lines(closed)
    shown.receive(Started("a", EXPORT), 0)
    shown.tick(20)


@pytest.mark.parametrize("length", [20, 60, 200])
def test_no_line_is_longer_than_a_terminal_of_80_columns_that_pip_indents(length: int) -> None:
    log = Log()
    label = "Compiling " + "n" * length
    said = log.after(0, Started("a", label)) + log.after(16)
    said += log.after(4000, Cached("a"), Ended("a", 999_900_000))
    assert len(said) == 3
    assert max(map(len, said)) <= WIDTH == 80 - len("  ")
    assert said[-1].endswith(": from the cache in 66 min 56 s, 999.9 MB")
    assert ("..." in said[0]) == (length > 57)


@pytest.fixture
def durations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Durations:
    monkeypatch.setenv("AOTBUILD_CACHE", "readwrite")
    monkeypatch.setenv("AOTBUILD_CACHE_DIR", str(tmp_path / "cache"))
    return Durations("small.models")


def test_what_a_step_took_is_known_to_the_next_build(durations: Durations) -> None:
    log = Log(durations)
    log.after(0, Started("a", EXPORT), Started("b", COMPILE), Started("c", "Bundling d"))
    log.after(2, Ended("a"), Cached("b"), Ended("b"), Ended("c", failed="failed"))
    again = Durations("small.models")
    assert again.before(EXPORT) == 2
    assert again.before(COMPILE) is None  # it would take longer without the cache
    assert again.before("Bundling d") is None
    assert Durations("other.models").before(EXPORT) is None


def test_the_time_that_is_left_follows_from_the_last_build(durations: Durations) -> None:
    board = Board(durations)
    assert board.left(0) is None
    durations.note(EXPORT, 4)
    durations.note(COMPILE, 20)
    board.receive(Planned([EXPORT, COMPILE, "Bundling d"], 2), 0)
    assert board.left(0) is None  # nobody knows how long the last one takes
    durations.note("Bundling d", 2)
    assert board.left(0) == 20  # the longest one, beside which the others run
    board.receive(Started("a", EXPORT), 0)
    board.receive(Started("b", COMPILE), 0)
    assert board.left(10) == 10
    board.receive(Ended("a"), 10)
    board.receive(Ended("b"), 30)
    assert (board.ended, board.planned, board.left(30)) == (2, 3, 2)


def test_times_and_sizes_in_words() -> None:
    assert [passed(s) for s in (0, 0.04, 9.94, 9.96, 59.4, 59.6, 200)] == [
        *("0.0 s", "0.0 s", "9.9 s", "10 s", "59 s", "1 min 00 s", "3 min 20 s"),
    ]
    assert [left(s) for s in (1, 42, 89, 200)] == [
        *("about 5 s", "about 40 s", "about 90 s", "about 3 min"),
    ]
    assert [size(n) for n in (999, 1500, 2_340_000, 1_200_000_000)] == [
        *("999 B", "1.5 kB", "2.3 MB", "1.2 GB"),
    ]
