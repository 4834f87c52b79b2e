"""``aotbuild new``: what it made is trained, built and called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from wheels import edited, install, pip_wheel


def test_what_it_made_is_trained_and_builds(tmp_path: Path, bare_python: Path) -> None:
    project = tmp_path / "row-sorter"
    command = [sys.executable, "-P", "-m", "aotbuild", "new", str(project)]
    subprocess.run(command, check=True, capture_output=True)
    trained = subprocess.run(
        [sys.executable, "train.py"],
        check=True,
        capture_output=True,
        text=True,
        cwd=project,
        env={**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert float(trained.stdout.partition("%")[0]) > 90
    edited(project, ('weights = "random"', 'weights = "weights/net.safetensors"'))
    build = pip_wheel(project)
    found = install(build, tmp_path / "site", bare_python)
    code = (
        "import array, json\nfrom row_sorter.models import net\n"
        "row = array.array('f', [0.0] * 8 + [1.0] * 4 + [0.0] * 4)\n"
        "logits = net(memoryview(row).cast('B').cast('f', (1, 16))).tolist()[0]\n"
        "print(json.dumps(logits.index(max(logits))))"
    )
    assert found.run(code, env={}) == 2
    # Its own test, of what is installed.
    tested = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        check=False,
        capture_output=True,
        text=True,
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(found.directory)},
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "4 passed" in tested.stdout
