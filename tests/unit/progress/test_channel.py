"""What the processes of a build tell reaches who shows it, at once."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aotbuild.progress.channel import Channel
from aotbuild.progress.events import (
    VARIABLE,
    Cached,
    Ended,
    Event,
    Part,
    Planned,
    Started,
    event_of,
    text_of,
)

STEP = """
import sys, time
from aotbuild.progress import events
with events.told("spec.json", "Exporting net") as work:
    events.part("recipe", 1, 2)
    work.size = 5
    exec(sys.argv[1])
"""


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ticks = 0

    def receive(self, event: Event, now: float) -> None:
        assert now <= time.monotonic()
        self.events.append(event)

    def tick(self, now: float) -> None:
        del now
        self.ticks += 1


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def channel(heard: Heard) -> Iterator[Channel]:
    channel = Channel(heard)
    yield channel
    channel.close()


def step(path: str, code: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", STEP, code],
        env={**os.environ, VARIABLE: path},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_events_are_read_as_they_were_told() -> None:
    told: list[Event] = [
        Planned(["a", "b"], 2),
        Started("a", "A"),
        Part("a", "recipe", 1, 2),
        Cached("a"),
    ]
    for event in [*told, Ended("a", 5, "failed")]:
        text = text_of(event)
        assert "\n" not in text
        assert event_of(text) == event
    for junk in ("", "x", "[]", "{}", '{"event": "Moved"}', '{"event": "Cached"}'):
        assert event_of(junk) is None


def test_a_step_is_heard_while_it_runs(channel: Channel, heard: Heard, tmp_path: Path) -> None:
    go = tmp_path / "go"
    code = f"while not __import__('os').path.exists({str(go)!r}): time.sleep(0.02)"
    process = step(channel.path, code)
    part = Part("spec.json", "recipe", 1, 2)
    wait_for(lambda: len(heard.events) == 2)
    assert heard.events == [Started("spec.json", "Exporting net"), part]
    assert process.poll() is None
    go.touch()
    assert process.communicate()[1] == ""
    wait_for(lambda: len(heard.events) == 3)
    assert heard.events[2] == Ended("spec.json", 5)


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        ("sys.exit(0)", ""),
        ("sys.exit(1)", "failed"),
        ("sys.exit('aotbuild: error: no')", "failed"),
        ("1 / 0", "failed"),
        ("sys.exit(130)", "stopped"),
        ("raise KeyboardInterrupt", "stopped"),
    ],
)
def test_how_a_step_ended_is_told(channel: Channel, heard: Heard, code: str, failed: str) -> None:
    step(channel.path, code).communicate()
    wait_for(lambda: len(heard.events) == 3)
    assert heard.events[2] == Ended("spec.json", 5, failed)


def test_many_steps_at_once_are_heard_whole(channel: Channel, heard: Heard) -> None:
    processes = [step(channel.path, "for i in range(300): events.cached()") for _ in range(3)]
    assert [process.communicate()[1] for process in processes] == ["", "", ""]
    assert channel.close(10)
    assert heard.events.count(Cached("spec.json")) == 900
    assert len(heard.events) == 909


def test_the_end_waits_for_processes_that_are_still_there(heard: Heard, tmp_path: Path) -> None:
    channel = Channel(heard)
    go = tmp_path / "go"
    late = "while not events.over(): time.sleep(0.02)\n"
    late += f"while not __import__('os').path.exists({str(go)!r}): time.sleep(0.02)"
    process = step(channel.path, late)
    wait_for(lambda: len(heard.events) == 2)
    directory = Path(channel.path).parent
    assert not channel.close(0.2)
    assert not directory.exists()
    go.touch()
    assert process.communicate()[1] == ""  # nobody has to listen
    wait_for(lambda: not channel._thread.is_alive())
    assert channel.close(5)


def test_a_pipe_is_for_its_user_alone(channel: Channel) -> None:
    path = Path(channel.path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("value", ["", "0", "1", "relative", "{file}", "{file}/none", "{pipe}"])
def test_where_nobody_listens_steps_run_all_the_same(tmp_path: Path, value: str) -> None:
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_text("kept")
    os.mkfifo(pipe)  # which nobody reads
    process = step(value.format(file=file, pipe=pipe))
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert file.read_text() == "kept"


def test_time_passes_also_where_nothing_is_told(channel: Channel, heard: Heard) -> None:
    wait_for(lambda: heard.ticks >= 2)
    assert heard.events == []
    assert channel.close(5)
