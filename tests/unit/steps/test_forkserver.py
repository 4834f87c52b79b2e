"""Steps as forks of one process: the same output and exit codes, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="steps are forked on Linux alone")

# The specification of a step is code, and the server tells who it is.
SERVER = """
import os, socket, sys, types
from aotbuild.steps import forkserver
forkserver._IDLE = 4
prepared = []
counted = sys.modules["counted"] = types.ModuleType("counted")
counted.prepare = prepared.append
forkserver.MODULES["counted"] = "counted"
open("servers", "a").write(f"{os.getpid()}\\n")
def run(step, spec):
    exec(spec)
forkserver.serve(socket.socket(fileno=int(sys.argv[1])), run)
"""
CLIENT = f"""
import sys
from aotbuild.steps import forkserver
from aotbuild.errors import reported
forkserver._SERVER = ["-c", {SERVER!r}]
with reported():
    status = forkserver.run_forked(*sys.argv[1:])
if status is None:
    print("alone")
sys.exit(status)
"""

Ask = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Ask]:
    """Asks the server of this directory for a step, in a process of its own."""

    started: list[subprocess.Popen[str]] = []

    def ask(spec: str, step: str = "spec", **env: str) -> subprocess.Popen[str]:
        # As where a shell runs the build in the background.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", CLIENT, step, spec],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **env},
        )
        started.append(process)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return process

    yield ask
    for process in started:
        with process:  # which closes its streams
            process.kill()


def servers(directory: Path) -> list[int]:
    return [int(line) for line in (directory / "servers").read_text().split()]


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120  # however busy the machine is
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_step_has_the_streams_and_the_exit_code_of_who_asks(ask: Ask, tmp_path: Path) -> None:
    said = "import sys; print('out', input()); print('err', file=sys.stderr); sys.exit(7)"
    assert ask("pass").wait() == 0
    step = ask(said)
    assert step.communicate("in\n") == ("out in\n", "err\n")
    assert step.returncode == 7
    assert len(servers(tmp_path)) == 1


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("raise SystemExit('aotbuild: error: no')", "aotbuild: error: no\n"),
        ("1 / 0", "ZeroDivisionError: division by zero\n"),
    ],
)
def test_a_step_that_fails_says_why(ask: Ask, spec: str, said: str) -> None:
    step = ask(spec)
    assert step.communicate()[1].endswith(said)
    assert step.returncode == 1


def test_steps_are_processes_of_their_own_that_run_at_once(ask: Ask, tmp_path: Path) -> None:
    steps = [
        ask(
            f"import os, pathlib, time\nprint(os.getpid())\npathlib.Path('{own}').touch()\n"
            f"while not pathlib.Path('{other}').exists(): time.sleep(0.01)"
        )
        for own, other in [("a", "b"), ("b", "a")]
    ]
    processes = {step.communicate(timeout=120)[0] for step in steps}
    assert len(processes | {str(process) for process in servers(tmp_path)}) == 3


def test_what_one_step_changes_no_other_sees(ask: Ask) -> None:
    assert ask("import json, os; json.changed = True; os.environ['CHANGED'] = '1'").wait() == 0
    told = ask("import json, os; print(hasattr(json, 'changed'), 'CHANGED' in os.environ)")
    assert told.communicate()[0] == "False False\n"


def test_what_a_step_prepares_is_there_for_the_next(ask: Ask, tmp_path: Path) -> None:
    for count in (1, 2):
        told = ask("print(len(prepared), prepared[-1].parent)", "counted")
        assert told.communicate()[0] == f"{count} {tmp_path}\n"


def test_the_server_ends_after_the_last_step(ask: Ask, tmp_path: Path) -> None:
    step = ask("print('bundled')", "bundle")
    assert step.communicate()[0] == "bundled\n"
    (server,) = servers(tmp_path)
    wait_for(lambda: not alive(server))
    assert not (tmp_path / "forkserver.sock").exists()
    assert ask("pass").wait() == 0
    assert len(servers(tmp_path)) == 2


def test_the_server_ends_soon_after_a_step_that_failed(ask: Ask, tmp_path: Path) -> None:
    longer = ask("import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)")
    wait_for((tmp_path / "servers").exists)
    assert ask("raise SystemExit('no')").wait() == 1
    assert ask("pass").wait() == 0  # a build may go on
    (server,) = servers(tmp_path)
    time.sleep(1.5)
    assert alive(server)  # for what is running
    (tmp_path / "go").touch()
    assert longer.wait() == 0
    wait_for(lambda: not alive(server))


def test_the_server_keeps_no_directory_in_use(ask: Ask, tmp_path: Path) -> None:
    assert ask("import os; assert os.path.exists('forkserver.sock')").wait() == 0
    (server,) = servers(tmp_path)
    assert Path(f"/proc/{server}/cwd").resolve() == Path("/")


def test_the_server_ends_when_nothing_is_asked(ask: Ask, tmp_path: Path) -> None:
    assert ask("pass").wait() == 0
    (server,) = servers(tmp_path)
    wait_for(lambda: not alive(server))


def test_a_step_in_another_environment_runs_alone(ask: Ask, tmp_path: Path) -> None:
    assert ask("pass").wait() == 0
    assert ask("print('forked')", AOTBUILD_TEST="other").communicate()[0] == "alone\n"
    assert ask("print('forked')", AOTBUILD_FORKSERVER="0").communicate()[0] == "alone\n"
    assert len(servers(tmp_path)) == 1


def test_a_step_runs_alone_where_there_can_be_no_server(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "forkserver.sock").mkdir()
    assert ask("print('forked')").communicate() == ("alone\n", "")


def test_a_server_that_was_killed_is_replaced(ask: Ask, tmp_path: Path) -> None:
    assert ask("pass").wait() == 0
    os.kill(servers(tmp_path)[0], signal.SIGKILL)
    assert ask("print('forked')").communicate() == ("forked\n", "")
    assert len(servers(tmp_path)) == 2


def test_a_step_that_is_killed_is_told(ask: Ask) -> None:
    step = ask("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    told = step.communicate()[1]
    assert told.startswith("aotbuild: error: the step spec was killed by SIGKILL\n")
    assert "CMAKE_BUILD_PARALLEL_LEVEL=1" in told
    assert step.returncode == 1


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGILL"])
def test_a_step_that_crashes_says_how_and_where(ask: Ask, name: str) -> None:
    step = ask(f"import os, signal\nos.kill(os.getpid(), signal.{name})")
    told = step.communicate()[1]
    assert f"\naotbuild: error: the step spec crashed with {name}\n" in told
    assert "Fatal Python error" in told.partition("aotbuild: error")[0]
    assert "memory" not in told.partition("aotbuild: error")[2]
    assert step.returncode == 1


def test_a_step_that_is_stopped_by_another_signal_does_not_blame_memory(ask: Ask) -> None:
    step = ask("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)")
    told = step.communicate()[1]
    assert told.startswith("aotbuild: error: the step spec was killed by SIGTERM\n")
    assert "memory" not in told
    assert step.returncode == 1


def test_a_step_is_stopped_with_who_asked_for_it(ask: Ask, tmp_path: Path) -> None:
    step = ask(
        "import json, os, pathlib, subprocess, time\n"
        "compiler = subprocess.Popen(['sleep', '100'])\n"
        "pathlib.Path('.pids').write_text(json.dumps([os.getpid(), compiler.pid]))\n"
        "os.rename('.pids', 'pids')\n"
        "try:\n    time.sleep(100)\nfinally:\n    pathlib.Path('cleaned').touch()"
    )
    wait_for((tmp_path / "pids").exists)
    step.kill()
    step.communicate()
    processes = json.loads((tmp_path / "pids").read_text())
    wait_for(lambda: not any(alive(process) for process in processes))
    assert (tmp_path / "cleaned").exists()
