"""Running a program that builds, and ending it with all that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

_ENDING = ((signal.SIGINT, 10.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
"""The signals by which a build is ended, and how many seconds it has after each."""


def run(
    command: Sequence[str],
    temporary: Path,
    line: Callable[[str], None],
    directory: Path | None = None,
) -> int:
    """Run the program, and end it with all that it has started where this is interrupted.

    Args:
        command: The command.
        temporary: Where its temporary files go.
        line: Gets each line of its output.
        directory: Where it runs; the current directory where none is named.

    Returns:
        Its exit code.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,
        cwd=directory,
    )
    assert process.stdout is not None  # noqa: S101
    with process.stdout as output, _ended_by_signals():
        try:
            for text in output:
                line(text.rstrip("\n"))
            return process.wait()
        except BaseException:
            _end(process)
            raise


def _end(process: subprocess.Popen[str]) -> None:
    """End a program and the rest of its group."""
    for number, seconds in _ENDING:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Raise where this process is to end, so that it does not leave the program behind."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    # What is ignored stays so: nohup does that.
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
