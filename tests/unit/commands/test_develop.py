"""``aotbuild develop``: what can go wrong before anything is built, and what it makes of a log."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import write_project

from aotbuild.__main__ import main
from aotbuild.commands.develop import background, environment
from aotbuild.commands.develop.environment import Install
from aotbuild.config.develop import EAGER
from aotbuild.config.project import load_declared
from aotbuild.errors import DevelopError
from aotbuild.runtime.development import FILE, warn_if_older
from aotbuild.steps.artifacts.stamps import read_exported, write_exported
from aotbuild.steps.plan.plan import planned_steps
from aotbuild.steps.tune.lock import Lock


def test_one_of_two_options_is_to_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["develop", "--compile", "--background"]) == 2
    assert "--compile waits for the compiled models" in capsys.readouterr().err


def test_a_directory_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["develop", "--project", str(tmp_path)])
    assert str(caught.value.code).startswith("aotbuild: error: ")
    assert [*tmp_path.iterdir()] == []


def test_without_pip_and_uv_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = Install(load_declared(write_project(tmp_path)), EAGER)
    monkeypatch.setattr(environment, "_version", lambda _: "")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(DevelopError) as caught:
        install.install()
    assert caught.value.fix == f"{sys.executable} -m ensurepip"
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/uv")
    ran: list[list[str]] = []

    def run(command: list[str], _: Path, line: Callable[[str], None], directory: Path) -> int:
        ran.append(command)
        line("error: no such thing")
        return int(directory == install.home)

    monkeypatch.setattr(environment, "run", run)
    with pytest.raises(DevelopError, match="the project cannot be installed") as caught:
        install.install()
    assert caught.value.why == "error: no such thing"
    assert install.log.read_text() == "error: no such thing\n"
    assert ran[0][:5] == ["/bin/uv", "pip", "install", "--python", sys.executable]
    assert ran[0][-2:] == ["-e", str(tmp_path)]
    assert not install.is_current()


def test_nothing_is_compiled_for_eager_models(tmp_path: Path) -> None:
    project = load_declared(write_project(tmp_path))
    steps = planned_steps(project, ["net"], Lock(), develop=EAGER)
    assert [step.step for step in steps] == ["export", "bundle"]
    declared = json.loads(steps[0].text)["declaration"]
    assert declared["fallback"] == "eager"
    assert json.loads(steps[1].text)["parts"][0]["variants"] == []
    assert [step.step for step in planned_steps(project, ["net"], Lock())][:2] == [
        "engine",
        "export",
    ]


def told(package: Path) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_older(package, "digits.models")
    return [str(each.message) for each in caught]


def test_a_package_tells_where_it_is_older(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.py" for i in range(5)]
    for file in files:
        file.write_text("1")
    states = {f.name: [f.stat().st_size, f.stat().st_mtime_ns] for f in files}
    models: dict[str, Any] = {"net": states, "other": {"0.py": states["0.py"]}}
    table = {"project": str(tmp_path), "mode": EAGER, "options": " -x", "models": models}
    (tmp_path / FILE).write_text(json.dumps(table))
    assert told(tmp_path) == []
    files[4].unlink()
    assert told(tmp_path) == [
        'digits.models: net is older than 4.py; "aotbuild develop -x" brings it up to date'
    ]
    for file in files[:4]:
        os.utime(file, (1, 1))
    (one,) = told(tmp_path)
    assert "net, other are older than 0.py, 1.py, 2.py and 2 more; " in one
    assert one.endswith("brings them up to date")


@pytest.mark.parametrize("ignored", [signal.SIGINT, signal.SIGHUP])
def test_what_runs_in_the_background_is_stopped(tmp_path: Path, ignored: int) -> None:
    assert not background.runs(tmp_path)
    background.stop(tmp_path)
    code = (
        "import fcntl, os, signal, sys, time\n"
        f"signal.signal({ignored:d}, signal.SIG_IGN)\n"  # as a shell in the background has it
        "lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "lock.write(str(os.getpid())); lock.flush(); print(flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "background.lock")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert background.runs(tmp_path)
        background.start(tmp_path, tmp_path)  # one is enough
        started = time.monotonic()
        background.stop(tmp_path)
        assert process.wait() == -signal.SIGTERM
        assert time.monotonic() - started < 10
    assert not background.runs(tmp_path)
    assert (tmp_path / background.LOG).read_text() == ""


def test_what_uv_puts_before_lines_is_no_part_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install = Install(load_declared(write_project(tmp_path)), EAGER)
    log = ["DEBUG   aotbuild: warning: this", "DEBUG     why:   that", "DEBUG other", "x"]

    def run(_: list[str], __: Path, line: Callable[[str], None], ___: Path) -> int:
        for text in log:
            line(text)
        return 0

    monkeypatch.setattr(environment, "run", run)
    install.install()
    assert capsys.readouterr().out == "aotbuild: warning: this\n  why:   that\n"
    assert install.log.read_text().splitlines() == log
    assert not install.is_current()  # there is no package


def test_what_is_changed_while_a_model_is_exported_counts_as_changed(tmp_path: Path) -> None:
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.touch()
    os.utime(before, (1, 1))
    began = time.time_ns()
    after.touch()
    os.utime(after)
    write_exported(tmp_path, [before, after], began)
    assert read_exported(tmp_path) == {str(before): [0, 10**9], str(after): [-1, -1]}
