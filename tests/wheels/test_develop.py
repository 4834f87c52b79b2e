"""``aotbuild develop``: a project in an environment, its models eager at first, then compiled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import keep_models

CODE = """
import json, warnings
warnings.simplefilter("always")
with warnings.catch_warnings(record=True) as told:
    from speech_kit.models import other
import torch
result = other(torch.ones(2, 40))[:, 0].tolist()
try:
    other(torch.ones(2, 41))
except ValueError as error:
    refused = str(error)
told = [str(w.message) for w in told if w.category is RuntimeWarning]
print(json.dumps([result, other.target, told, refused]))
"""
COMPILED = "cpu-x86-64-v3"


class Developed:
    """A project, and the environment that it is developed in."""

    def __init__(self, source: Path, python: Path) -> None:
        self.source, self.python = source, python
        self.module = source / "src/speech_kit/other.py"

    def develop(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self._run("-m", "aotbuild", "develop", *options, "--project", str(self.source))

    def call(self) -> tuple[list[float], str, list[str]]:
        done = self._run("-c", CODE)
        assert done.returncode == 0, done.stderr
        result, target, told, refused = json.loads(done.stdout)
        assert "must have shape (frames, 40), got (2, 41)" in refused
        return result, target, told

    def edit(self, old: str, new: str) -> None:
        text = self.module.read_text()
        assert old in text
        self.module.write_text(text.replace(old, new))

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # As from another directory, with a PATH that has nothing of the environment.
        return subprocess.run(
            [self.python, "-P", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.python.parents[2],
        )


@pytest.fixture
def developed(
    project: Callable[[str], Path], bench_python: Path, monkeypatch: pytest.MonkeyPatch
) -> Developed:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    source = keep_models(project("srcdir"), "other")
    (source / "src/speech_kit/__init__.py").write_text("")
    return Developed(source, bench_python)


def test_a_day_of_development(developed: Developed) -> None:
    done = developed.develop()
    assert done.returncode == 0, done.stderr
    assert "aotbuild: other: not compiled, eager torch runs it\n" in done.stdout
    assert "from speech_kit.models import other" in done.stdout
    assert developed.call() == ([2.0, 4.0], "uncompiled", [])
    quiet = developed.develop()
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")

    developed.edit("* 2", "* 5")
    result, target, (told,) = developed.call()
    assert (result, target) == ([2.0, 4.0], "uncompiled")
    assert told == (
        "speech_kit.models: other is older than src/speech_kit/other.py; "
        f'"aotbuild develop --project {developed.source}" brings it up to date'
    )
    assert developed.develop().returncode == 0
    assert developed.call() == ([5.0, 10.0], "uncompiled", [])

    # What cannot be traced changes nothing of what is installed.
    developed.edit("* 5", "* five")
    done = developed.develop()
    assert done.returncode == 1
    assert done.stderr.startswith("aotbuild: error: ")
    assert "name 'five' is not defined" in done.stderr
    assert "[1/" not in done.stderr
    assert developed.call()[0] == [5.0, 10.0]

    # Compiling in the background goes on where nothing changes, and is begun anew where it does.
    developed.edit("* five", "* 6")
    assert developed.develop("--background").returncode == 0
    assert "compiling in the background, still" in developed.develop().stdout
    developed.edit("* 6", "* 3")
    stopped = developed.develop("--background")
    assert "stopped compiling in the background" in stopped.stdout
    assert developed.call() == ([3.0, 6.0], "uncompiled", [])
    log = developed.source / "build/develop/background.log"
    end = time.monotonic() + 240
    while "from speech_kit.models import" not in log.read_text() and time.monotonic() < end:
        time.sleep(0.2)
    assert developed.call() == ([3.0, 6.0], COMPILED, [])
    quiet = developed.develop()
    assert (quiet.returncode, quiet.stdout) == (0, "")

    # A compiled model that is older than its source says so, and gives way.
    developed.edit("* 3", "* 4")
    result, target, (told,) = developed.call()
    assert (result, target) == ([3.0, 6.0], COMPILED)
    assert '"aotbuild develop --compile --project ' in told
    done = developed.develop()
    assert "other is older than src/speech_kit/other.py: eager torch runs all" in done.stdout
    assert developed.call() == ([4.0, 8.0], "uncompiled", [])
