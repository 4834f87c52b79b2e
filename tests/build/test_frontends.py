"""The programs that people build wheels with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import Build, install, keep_models

CODE = """
import json, torch
from digits.models import net
print(json.dumps(list(net(torch.rand(3, 1, 8, 8)).shape)))
"""

FRONTENDS = {
    "build": ["{python}", "-P", "-m", "build", "--wheel", "--no-isolation", "-o", "{out}", "{src}"],
    "uv": [
        *("{python}", "-P", "-m", "uv", "build", "--wheel", "--no-build-isolation", "--offline"),
        *("--python", "{python}", "-o", "{out}", "{src}"),
    ],
    "pip from git": [
        *("{python}", "-P", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"),
        *("-w", "{out}", "git+file://{src}"),
    ],
}


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_a_frontend_builds_the_example(
    project: Callable[[str], Path], clean_python: Path, tmp_path: Path, frontend: str
) -> None:
    source = keep_models(project("example_project"), "net")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", *identity, *command], cwd=source, check=True)
    words = {"python": sys.executable, "out": str(tmp_path / "out"), "src": str(source)}
    done = subprocess.run(
        [word.format(**words) for word in FRONTENDS[frontend]],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    output = done.stdout + done.stderr
    build = Build(done.returncode, output, sorted((tmp_path / "out").glob("*.whl")))
    found = install(build, tmp_path / "installed", clean_python)
    assert found.run(CODE) == [3, 10]
