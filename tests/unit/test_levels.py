"""Which of the timed CPU levels are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aotbuild.build.levels import _ratio, left_out


class Clock:
    """Time that passes only in what runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def taking(self, milliseconds: float) -> Any:
        def run(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
            self.now += milliseconds / 1000
            return tensors

        return run


def test_the_ratio_is_that_of_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    assert _ratio(clock.taking(3), clock.taking(1), []) == pytest.approx(3)
    assert _ratio(clock.taking(1), clock.taking(2), []) == pytest.approx(0.5)


def test_slow_models_are_timed_three_times_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    calls: list[str] = []

    def run(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        calls.append("")
        clock.now += 30
        return tensors

    assert _ratio(run, run, []) == pytest.approx(1)
    assert len(calls) == 3 + 3 + 1 + 2 * 3


def test_what_is_left_out_is_read_from_all_files(tmp_path: Path) -> None:
    for name, dropped in [("one", ["a/v4"]), ("two", []), ("three", ["b/v4"])]:
        (tmp_path / name).write_text(json.dumps({"left-out": dropped}))
    files = [str(tmp_path / name) for name in ("one", "two", "three")]
    assert left_out(files) == {"a/v4", "b/v4"}
    assert left_out([]) == set()
