"""The hook shows what a build does, where nobody else does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOK = """
import os, subprocess, sys
from pathlib import Path
from aotbuild.config.project import load_project
from aotbuild.hook.progress import show_progress
project = load_project(Path.cwd())
show_progress(project)
first = os.environ.get("AOTBUILD_PROGRESS", "")
show_progress(project)
path = os.environ.get("AOTBUILD_PROGRESS", "")
assert not os.path.exists(first) or first == "0", "a hook that is called again begins anew"
step = 'from aotbuild.progress import events\\nwith events.told("a", "Exporting net"): pass'
print("before", flush=True)
subprocess.run([sys.executable, "-P", "-c", step], check=True)
Path("path").write_text(path)
"""


@pytest.mark.parametrize(
    ("value", "shown"), [(None, 2), ("", 2), ("1", 2), ("0", 0), ("/nowhere/progress", 0)]
)
def test_lines_are_printed_unless_somebody_else_listens(
    project: Path, value: str | None, shown: int
) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "AOTBUILD_PROGRESS"}
    if value is not None:
        environment["AOTBUILD_PROGRESS"] = value
    done = subprocess.run(
        [sys.executable, "-P", "-c", HOOK],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = ["before", "aotbuild: Exporting net", "aotbuild: Exporting net: 0.0 s"]
    assert done.stdout.splitlines() == lines[: 1 + shown]
    path = (project / "path").read_text()
    if value in {"0", "/nowhere/progress"}:
        assert path == value
    else:
        assert path
        assert not Path(path).parent.exists()  # nothing is left
