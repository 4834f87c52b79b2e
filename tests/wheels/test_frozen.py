"""Programs that PyInstaller has frozen: compiled models in them work as elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from wheels import Installed

pytest.importorskip("PyInstaller", reason="pyinstaller is not installed")

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])  # where torch is: freezing it takes minutes
import numpy
from calls.models import dense, nested, normed
print(dense(numpy.ones((3, 6), "float32")).shape, normed.target, "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def calls(installed: Callable[[str], Installed]) -> Installed:
    return installed("calls")


def freeze(calls: Installed, directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Freeze the program, and run it."""
    (directory / "app.py").write_text(PROGRAM)
    (directory / "site").mkdir()
    (directory / "site" / "torch").symlink_to(Path(torch.__file__).parent)
    environment = {**os.environ, "PYTHONPATH": str(calls.directory)}
    command = [sys.executable, "-m", "PyInstaller", "--onedir", "--log-level", "WARN"]
    command += ["--exclude-module", "torch", *options, "app.py"]
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return subprocess.run(
        [directory / "dist" / "app" / "app", directory / "site"],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
    )


def test_a_frozen_program_has_the_models(calls: Installed, tmp_path: Path) -> None:
    (entry_points,) = [text for name, text in calls.files.items() if "entry_points.txt" in name]
    assert b"[pyinstaller40]\nhook-dirs = calls.models._pyinstaller:hook_dirs" in entry_points
    done = freeze(calls, tmp_path)
    assert done.stdout == "(3, 5) cpu-x86-64-v3 False\n", done.stderr


def test_a_frozen_program_without_the_hook_tells_of_it(
    calls: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "calls").symlink_to(calls.directory / "calls")  # without its entry points
    without = Installed(calls.wheel, bare, "", calls.python)
    monkeypatch.chdir(tmp_path)
    done = freeze(without, tmp_path)
    assert done.returncode != 0
    assert "this frozen program has not all of it. PyInstaller collects it by a" in done.stderr
    assert "--additional-hooks-dir" in done.stderr
