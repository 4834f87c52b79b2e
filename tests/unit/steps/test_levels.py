"""Which of the timed CPU levels are left out."""

from __future__ import annotations

import json
from pathlib import Path

from aotbuild.steps.artifacts.tuning import left_out


def test_what_is_left_out_is_read_from_all_files(tmp_path: Path) -> None:
    for name, dropped in [("one", ["a/v4"]), ("two", []), ("three", ["b/v4"])]:
        (tmp_path / name).write_text(json.dumps({"left-out": dropped}))
    files = [str(tmp_path / name) for name in ("one", "two", "three")]
    assert left_out(files) == {"a/v4", "b/v4"}
    assert left_out([]) == set()
