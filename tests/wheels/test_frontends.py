"""The programs that people build wheels with."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
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
    # pip shows nothing of a build without -v.
    assert ("aotbuild: Exporting net: " in output) == (frontend == "uv")


def test_build_makes_a_wheel_for_anyone_without_a_home_from_a_read_only_tree(
    project: Callable[[str], Path], clean_python: Path, tmp_path: Path
) -> None:
    # Root becomes somebody who can read what root has installed, and write nothing of it.
    somebody = [
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
    ]
    prefix = somebody if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as name:  # pytest's own are for their user alone
        directory = Path(name)
        directory.chmod(0o755)
        source = directory / "source"
        keep_models(project("example_project"), "net").rename(source)
        for path in [source, *source.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        out, scratch = directory / "out", directory / "tmp"
        for path in (out, scratch):
            path.mkdir()
            path.chmod(0o777)
        kept = ("PATH", "LANG", "LD_LIBRARY_PATH")
        done = subprocess.run(
            [*prefix, sys.executable, "-P", "-m", "build", "--wheel", "--no-isolation"]
            + ["-o", str(out), str(source)],
            capture_output=True,
            text=True,
            check=False,
            cwd=out,
            env={**{k: os.environ[k] for k in kept if k in os.environ}, "TMPDIR": str(scratch)},
        )
        build = Build(done.returncode, done.stdout + done.stderr, sorted(out.glob("*.whl")))
        found = install(build, tmp_path / "installed", clean_python)
        assert "aotbuild: Exporting net: " in build.output
        for path in [source, *source.rglob("*")]:
            path.chmod(0o755)
    assert found.run(CODE) == [3, 10]
