"""``aotbuild build``: what it shows, what it leaves, and how it ends; nothing is compiled here."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from aotbuild.__main__ import main
from aotbuild.commands.build import frontend
from aotbuild.commands.said import Said
from aotbuild.errors import BuildError

# In the place of scikit-build-core: what a build tells and prints is that of a real one.
BACKEND = '''
import os, pathlib, subprocess, sys, time, zipfile
from aotbuild.progress.events import Planned, part, tell, told

STEP = """
import pathlib, sys, time
from aotbuild.progress.events import told
with told("net.json", "Exporting net"):
    pathlib.Path("steps").write_text(str(__import__("os").getpid()))
    time.sleep(100)
"""

def build_wheel(directory, settings=None, metadata=None):
    settings = settings or {}
    print("  aotbuild: warning: the weights are random\\n    fix:   train it", flush=True)
    tell(Planned(["Exporting net", "Bundling small.models"], 2))
    if "wait" in settings:
        subprocess.run([sys.executable, "-P", "-c", STEP], start_new_session=True)
    with told("net.json", "Exporting net") as work:
        part("recipe", 1, 2)
        time.sleep(0.3)
        work.size = 1500
        print("aotbuild: warning: the weights are random\\n  fix:   train it")
        if "refuse" in settings:
            print("FAILED: net\\n  aotbuild: error: no net\\n    where: x:1\\n    fix:   a net")
            print("*** CMake failed\\naotbuild: error: no net\\n  where: x:1\\n  fix:   a net")
            sys.exit(1)
        if "break" in settings:
            sys.exit("the disk is on fire")
    with told("bundle.json", "Bundling small.models"):
        print("aotbuild: small.models: 2 kB\\nninja: done")
    name = "small-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        about = "Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n"
        wheel.writestr("small-1.dist-info/METADATA", about)
        wheel.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("small-1.dist-info/RECORD", "")
    pathlib.Path("temporary").write_text(os.environ["TMPDIR"])
    return name
'''

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "small"
version = "1"

[tool.aotbuild]
package = "small.models"

[tool.aotbuild.models.net]
source = "small.network:Net"
inputs.x = { shape = [1] }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "small").mkdir(parents=True)
    (root / "small" / "__init__.py").touch()
    (root / "small" / "network.py").write_text("class Net: ...\n")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    (tmp_path / "tmp").mkdir()
    return root


def command(project: Path, *options: str) -> list[str]:
    own = ["--project", str(project), "--no-isolation", "-w", "made/wheels"]
    return [sys.executable, "-P", "-m", "aotbuild", "build", *own, *options]


def environment(project: Path, more: Mapping[str, str]) -> dict[str, str]:
    colours = {"NO_COLOR", "FORCE_COLOR", "AOTBUILD_PROGRESS", "COLUMNS"}
    own = {name: value for name, value in os.environ.items() if name not in colours}
    return {**own, "TMPDIR": str(project.parent / "tmp"), "TERM": "xterm-256color", **more}


def build(project: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(project, *options),
        capture_output=True,
        text=True,
        check=False,
        cwd=project.parent,
        env=environment(project, env),
    )


def left(project: Path) -> list[str]:
    """What there is beside the project."""
    return sorted(path.name for path in project.parent.iterdir() if path != project)


WARNING = ["aotbuild: warning: the weights are random", "  fix:   train it"]


def test_lines_are_printed_where_there_is_no_terminal(project: Path) -> None:
    done = build(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\r" not in done.stdout
    assert "\x1b" not in done.stdout
    lines = [re.sub(r"\d+\.\d s", "0.3 s", line) for line in done.stdout.splitlines()]
    assert [line for line in lines if line in WARNING] == WARNING  # once
    summary = "aotbuild: small.models: 2 kB"
    assert lines.count(summary) == 1
    assert [line for line in lines if line not in {*WARNING, summary}] == [
        "aotbuild: 2 steps, 2 at once",
        "aotbuild: Exporting net",
        "aotbuild: Exporting net: recipe 1 of 2",
        "aotbuild: Exporting net: 0.3 s, 1.5 kB",
        "aotbuild: Bundling small.models",
        "aotbuild: Bundling small.models: 0.3 s",
        lines[-1],
    ]
    size = (project.parent / "made/wheels/small-1-py3-none-any.whl").stat().st_size
    assert re.fullmatch(rf"made/wheels/small-1-py3-none-any.whl: {size} B, in .* s", lines[-1])
    temporary = Path((project / "temporary").read_text())
    assert temporary.parent == project.parent / "tmp"
    assert [*(project.parent / "tmp").iterdir()] == []
    assert left(project) == ["made", "tmp"]


def on_terminal(project: Path, **env: str) -> str:
    """What a terminal of 80 columns gets."""
    own, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        command(project),
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=project.parent,
        env=environment(project, env),
    )
    os.close(its)
    data = b""
    try:
        while chunk := os.read(own, 1 << 16):
            data += chunk
    except OSError:  # the other end is closed
        pass
    os.close(own)
    assert process.wait() == 0, data
    return data.decode()


COLOURS = re.compile(r"\x1b\[[\d;]*m")


@pytest.mark.parametrize("coloured", [True, False])
def test_bars_are_drawn_on_a_terminal(project: Path, coloured: bool) -> None:  # noqa: FBT001
    told = on_terminal(project, **({} if coloured else {"NO_COLOR": "1"}))
    colours = {code for code in COLOURS.findall(told) if re.search(r"\[(3|4)\d|38", code)}
    assert bool(colours) == coloured
    drawn = re.split(r"\r|\n", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", told))
    assert max(map(len, drawn)) <= 80
    text = " ".join(" ".join(drawn).split())
    assert re.search(r"all steps [━╸╺ ]+ 1 of 2", text), text
    assert re.search(r"Exporting net [━╸╺ ]*recipe 1 of 2, 0\.\d s", text), text
    # When all is done there are lines, and no bars.
    last = [line for line in drawn if line.strip()][-3:]
    assert last[-1].startswith("made/wheels/small-1-py3-none-any.whl: ")
    assert told.rstrip().endswith(" s")


def test_colours_can_be_forced_where_no_bars_can_be_drawn(project: Path) -> None:
    done = build(project, FORCE_COLOR="1")
    assert done.returncode == 0, done.stderr
    assert COLOURS.search(done.stdout)
    assert "━" not in done.stdout
    assert "aotbuild: Exporting net: recipe 1 of 2" in COLOURS.sub("", done.stdout)


def test_the_error_of_a_build_is_told_once(project: Path) -> None:
    done = build(project, "-C", "refuse=1")
    assert done.returncode == 1
    assert done.stderr == "aotbuild: error: no net\n  where: x:1\n  fix:   a net\n"
    assert "no net" not in done.stdout
    assert "aotbuild: Exporting net: failed after 0." in done.stdout
    assert left(project) == ["tmp"]


def test_all_that_is_printed_can_be_seen(project: Path) -> None:
    done = build(project, "--verbose", "-Crefuse=1")
    assert done.returncode == 1
    assert "FAILED: net\n  aotbuild: error: no net\n" in done.stdout
    assert done.stderr == ""


def test_a_build_that_fails_for_another_reason_shows_its_last_lines(project: Path) -> None:
    done = build(project, "-C", "break=1")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "aotbuild: error: the build failed with exit code 1\n  why:   its"
    )
    assert "\n         the disk is on fire\n" in done.stderr
    assert "fix:   aotbuild build --verbose prints all" in done.stderr
    assert left(project) == ["tmp"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_an_interrupt_leaves_no_file_and_no_process(
    project: Path, number: int, status: int
) -> None:
    process = subprocess.Popen(
        command(project, "-C", "wait=1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=project.parent,
        env=environment(project, {}),
    )
    steps, until = project / "steps", time.monotonic() + 120
    while not steps.exists() or not steps.read_text():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    if number == signal.SIGINT:
        # A step of a session of its own learns it from who runs it, as those of the server do.
        os.kill(int(steps.read_text()), number)
    else:
        os.kill(int(steps.read_text()), signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, (out, err)
    assert "Traceback" not in err
    assert "aotbuild: Exporting net" in out
    if number == signal.SIGINT:
        assert "aotbuild: Exporting net: stopped after " in out
        assert err.lstrip() == "aotbuild: interrupted; nothing half-written was kept\n"
    assert left(project) == ["tmp"]
    assert [*(project.parent / "tmp").iterdir()] == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-C", "setting"], '"setting" is no setting: write -C KEY=VALUE'),
        (["net"], "Got unexpected extra argument (net)"),
        (["-w", __file__], "is a file"),
    ],
)
def test_wrong_arguments_end_with_2(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", *options]) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_project_is_told_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["build", "--project", str(tmp_path), "-w", str(tmp_path / "out")])
    assert "the project declares no models" in str(ended.value.code)
    assert [*tmp_path.iterdir()] == []


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let only these packages be found."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        frontend, "find_spec", lambda name: real("json") if name.split(".")[0] in packages else None
    )


def test_pip_builds_where_build_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def line(*, isolation: bool) -> str:
        out = Path("out")
        words = frontend.command_line(Path("p"), out, isolation=isolation, settings=["a=b"])
        return " ".join(words[3:])

    installed(monkeypatch, "build", "pip")
    assert line(isolation=True) == "build --wheel --outdir out -Ca=b p"
    alone = "--no-isolation --skip-dependency-check"
    assert line(isolation=False) == f"build --wheel --outdir out {alone} -Ca=b p"
    installed(monkeypatch, "pip")
    pip = "pip wheel -v --no-deps --disable-pip-version-check -w out"
    assert line(isolation=True) == f"{pip} -Ca=b p"
    assert line(isolation=False) == f"{pip} --no-build-isolation -Ca=b p"
    installed(monkeypatch)
    with pytest.raises(BuildError) as caught:
        line(isolation=True)
    assert "neither build nor pip is installed" in caught.value.block()


def test_pip_makes_the_wheel_as_well(project: Path) -> None:
    hidden = project.parent / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['build'] = None\n")
    done = build(project, PYTHONPATH=f"{hidden}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "aotbuild: Exporting net: recipe 1 of 2\n" in done.stdout
    assert (project.parent / "made/wheels/small-1-py3-none-any.whl").exists()


def test_of_the_output_only_what_aotbuild_says_is_told() -> None:
    told: list[str] = []
    said = Said(told.append)
    for line in [
        *("-- Found Python", "aotbuild: net: 2 kB", "  To leave it out: exclude", "[1/2] x"),
        *("    aotbuild: error: a", "      why: b", "         c", "", "    more"),
        *("aotbuild: error: a", "  why: b", "     c", "aotbuild: error: d"),
    ]:
        said.take(line)
    said.end()
    assert told == ["aotbuild: net: 2 kB\n  To leave it out: exclude"]
    assert said.errors == ["aotbuild: error: a\n  why: b\n     c", "aotbuild: error: d"]
    assert said.last.splitlines()[-1] == "aotbuild: error: d"
