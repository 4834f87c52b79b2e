"""Which of the timed CPU levels are kept."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from aotbuild.build import levels
from aotbuild.build.levels import _ratio, left_out


def taking(milliseconds: float) -> Any:
    def run(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        end = time.perf_counter() + milliseconds / 1000
        while time.perf_counter() < end:
            pass
        return tensors

    return run


def test_the_ratio_is_that_of_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_PAIRS", 5)
    monkeypatch.setattr(levels, "_SECONDS", 0.01)
    assert _ratio(taking(3), taking(1), []) == pytest.approx(3, rel=0.2)
    assert _ratio(taking(1), taking(2), []) == pytest.approx(0.5, rel=0.2)


def test_slow_models_are_timed_three_times_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "_LONGEST", 0.0)
    calls: list[str] = []

    def run(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        calls.append("")
        time.sleep(0.03)
        return tensors

    assert _ratio(run, run, []) == pytest.approx(1, rel=0.3)
    assert len(calls) == 3 + 3 + 1 + 2 * 3


def test_what_is_left_out_is_read_from_all_files(tmp_path: Path) -> None:
    for name, dropped in [("one", ["a/v4"]), ("two", []), ("three", ["b/v4"])]:
        (tmp_path / name).write_text(json.dumps({"left-out": dropped}))
    files = [str(tmp_path / name) for name in ("one", "two", "three")]
    assert left_out(files) == {"a/v4", "b/v4"}
    assert left_out([]) == set()
