"""Timing in turns, and which of the timed recipes wins."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from aotbuild.steps.tune.statistics import ratio
from aotbuild.steps.tune.step import best
from aotbuild.steps.tune.timing import rounds


class Clock:
    """Time that passes only in what runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("time.thread_time", lambda: self.now)
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def taking(self, milliseconds: float, calls: list[str] | None = None) -> Any:
        def run(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
            if calls is not None:
                calls.append("")
            self.now += milliseconds / 1000
            return tensors

        return run


def test_the_times_are_those_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    times = rounds({"slow": clock.taking(3), "fast": clock.taking(1)}, [])
    assert {name: len(found) for name, found in times.items()} == {"slow": 25, "fast": 25}
    assert times["slow"] == pytest.approx([0.003] * 25)
    assert ratio(times["slow"], times["fast"]).median == pytest.approx(3)


def test_slow_models_are_timed_five_times_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    calls: list[str] = []
    times = rounds({"one": clock.taking(30_000, calls), "two": clock.taking(30_000)}, [])
    assert {name: len(found) for name, found in times.items()} == {"one": 5, "two": 5}
    assert len(calls) == 3 + 5


def jittered(seconds: float, by: float = 0.0) -> list[float]:
    return [seconds * (1 + by * (i % 5 - 2)) for i in range(25)]


def test_the_first_recipe_wins_unless_another_is_clearly_faster() -> None:
    assert best({"usual": jittered(1.0), "other": jittered(0.99)}, set()) == "usual"
    assert best({"usual": jittered(1.0), "other": jittered(0.9)}, set()) == "other"
    noise = {"usual": jittered(1.0, 0.1), "other": jittered(0.95, -0.1)}
    assert best(noise, set()) == "usual"
    three = {"usual": jittered(1.0), "better": jittered(0.9), "best": jittered(0.5)}
    assert best(three, set()) == "best"


def test_of_two_that_are_equally_fast_the_first_wins() -> None:
    times = {"usual": jittered(1.0), "second": jittered(0.505), "third": jittered(0.5)}
    assert best(times, set()) == "second"


def test_what_loses_accuracy_has_to_gain_more() -> None:
    times = {"exact": jittered(1.0), "rounded": jittered(0.97)}
    assert best(times, set()) == "rounded"
    assert best(times, {"rounded"}) == "exact"
