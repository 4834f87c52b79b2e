"""``aotbuild``: help, wrong arguments, and the ends of commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from aotbuild.__main__ import aotbuild, main

COMMANDS = sorted(aotbuild.commands)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "aotbuild", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_help_tells_all_commands_and_how_they_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^  (\w+)  +[A-Z]", out, re.MULTILINE) == COMMANDS
    assert "130 where it was interrupted" in out
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: {out.split()[1]}")
    options = re.findall(r"^  (-.*)$", out, re.MULTILINE)
    assert all(re.search(r"\S  +\S", option) for option in options), options
    assert max(map(len, out.splitlines())) <= 100


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"aotbuild, version {version('aotbuild')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Usage: "),
        (["inspct"], "No such command 'inspct'."),
        (["inspect"], "Missing argument"),
        (["repair"], "Missing argument"),
        (["check", "--explian"], "No such option '--explian'."),
        (["doctor", "now"], "Got unexpected extra argument (now)"),
        (["cache", "prune"], "tell what to remove: --all, --max-size or --unused-days"),
        (["cache", "prune", "--unused-days", "-1"], "-1.0 is not in the range"),
    ],
)
def test_wrong_arguments_end_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_it_is_a_program_of_its_own() -> None:
    program = Path(sys.executable).parent / "aotbuild"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("aotbuild, version ")


def test_what_is_wrong_ends_with_1() -> None:
    done = run("inspect", "nowhere")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith('aotbuild: error: there is no "nowhere"')


def test_the_library_of_the_command_line_is_not_needed_by_builds(tmp_path: Path) -> None:
    """Hooks and steps begin many times in a build."""
    code = "import sys, aotbuild.hook.settings, aotbuild.steps.run; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert not {"click", "rich"} & set(done.stdout.split())


SLOW = """
[project]
name = "slow"
version = "1"
dynamic = ["dependencies"]

[build-system]
requires = ["scikit-build-core", "aotbuild", "torch=={torch}"]
build-backend = "scikit_build_core.build"

[tool.aotbuild]
package = "slow.models"

[tool.aotbuild.models.net]
source = "slow_source:Net"
inputs.x = {{ shape = [1] }}
"""


@pytest.mark.parametrize("name", ["check", "plan"])
def test_an_interrupt_ends_with_130(tmp_path: Path, name: str) -> None:
    (tmp_path / "pyproject.toml").write_text(SLOW.format(torch=version("torch").split("+")[0]))
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "__init__.py").touch()
    source = "import time, pathlib\npathlib.Path('begun').touch()\ntime.sleep(100)\n"
    (tmp_path / "slow_source.py").write_text(source)
    command = [sys.executable, "-P", "-m", "aotbuild", name, "--project", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    until = time.monotonic() + 120
    while not (tmp_path / "begun").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.endswith("aotbuild: interrupted; nothing half-written was kept\n")
    assert "Traceback" not in err
