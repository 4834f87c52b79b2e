"""Steps as forks of one process that has imported torch, which takes longer than most of them.

The first step of a build starts the server, in the build's directory; each step sends it what to
run, with its own standard streams, and waits. The step that runs is a process of its own all the
same. The server ends with the build: after the last step, or when nothing has been asked of it for
a while. Where there can be none, steps run by themselves.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from aotbuild.errors import killed
from aotbuild.progress import events
from aotbuild.steps.run import MODULES, run_step

VARIABLE = "AOTBUILD_FORKSERVER"
"""``0`` lets each step run by itself."""

_SOCKET = "forkserver.sock"
_LOCK = "forkserver.lock"
_SERVER = ["-m", __name__]
_LAST = "bundle"
"""After this step there is nothing more to do."""
_IDLE, _FAILED = 30.0, 1.0
"""Seconds without a step after which the server ends, before and after a step has failed."""
_STARTED = b"\x00"
_KILLED = b"\xff"
"""Before the number of the signal that killed a step; a step that ends sends its status alone."""


def run_forked(step: str, spec: str) -> int | None:
    """Run a step as a fork of the server of this build.

    Returns:
        Its exit code, or None if there is no server to run it.
    """
    # Elsewhere, forking a process that has loaded system libraries is not safe.
    if sys.platform != "linux" or os.environ.get(VARIABLE) == "0":
        return None
    request = json.dumps({**_surroundings(), "step": step, "spec": spec}).encode()
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(_connected())
            socket.send_fds(connection, [len(request).to_bytes(4, "little")], [0, 1, 2])
            connection.sendall(request)
            started = connection.recv(1)
        except OSError:  # such as on a file system without sockets
            return None
        if not started:
            return None
        with contextlib.suppress(ConnectionError):
            status = connection.recv(2)
            if len(status) == 2 and status[:1] == _KILLED:
                raise killed(step, spec, status[1])
            if status:
                return status[0]
    raise killed(step, spec)


def _surroundings() -> dict[str, Any]:
    """What a step has from the process that it is forked from."""
    return {"environment": dict(os.environ), "path": sys.path, "directory": os.getcwd()}  # noqa: PTH109


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Only one process at a time looks for a server, or starts one."""
    import fcntl

    with open(_LOCK, "wb") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _connected() -> socket.socket:
    """A connection to the server, which is started if there is none."""
    with _locked():
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(_SOCKET)
        except OSError:
            _start()
            connection.connect(_SOCKET)
        return connection


def _start() -> None:
    Path(_SOCKET).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(_SOCKET)
        listening.listen(64)
        command = [sys.executable, "-P", *_SERVER, str(listening.fileno())]
        # Whoever waits for the end of a step's output does not wait for the server's.
        quiet: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        subprocess.Popen(
            command, pass_fds=[listening.fileno()], start_new_session=True, **quiet
        ).returncode = 0  # it outlives this process


def serve(listening: socket.socket, run: Callable[[str, str], None]) -> None:
    """Fork for each step that is requested, until the build is over.

    Args:
        listening: The socket.
        run: Runs a step; it gets its name and its specification.
    """
    surroundings = _surroundings()
    os.chdir("/")  # never keep the build directory busy
    running: dict[int, socket.socket | None] = {}  # None where its client is gone
    last_request = time.monotonic()
    patience = _IDLE
    events.heard()  # whoever listens waits for the end of this process, too
    while running or (time.monotonic() - last_request < patience and not events.over()):
        watched = [listening, *filter(None, running.values())]
        ready, _, _ = select.select(watched, [], [], 0.2)
        for process, connection in list(running.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if connection and (ended or connection in ready):
                if ended and os.WIFSIGNALED(status):
                    with contextlib.suppress(OSError):
                        connection.sendall(_KILLED + bytes([os.WTERMSIG(status)]))
                connection.close()
                running[process] = None
                if not ended:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process, signal.SIGINT)
            if ended:
                del running[process]
                last_request = time.monotonic()
                patience = min(patience, _FAILED) if status else patience
        if listening not in ready:
            continue
        last_request = time.monotonic()
        connection, _ = listening.accept()
        request, streams = _request(connection)
        if request is None or any(request[key] != value for key, value in surroundings.items()):
            connection.close()
        else:
            step = functools.partial(_run_step, request, connection, streams, watched, run)
            running[_fork(request, step)] = connection
            patience = 0.0 if request["step"] == _LAST else patience
        for stream in streams:
            os.close(stream)
    listening.close()


def _request(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The request, and the standard streams of the client."""
    connection.settimeout(10)
    streams: list[int] = []
    try:
        head, streams, _, _ = socket.recv_fds(connection, 4, 3)
        length = int.from_bytes(head, "little")
        with connection.makefile("rb") as sent:
            text = sent.read(length)
        connection.settimeout(None)
        complete = len(text) == length and len(streams) == 3
        return json.loads(text) if complete else None, streams
    except OSError:
        return None, streams


def _fork(request: Mapping[str, Any], run: Callable[[], int]) -> int:
    """Run in a process of its own, which ends with the status that comes back; its number."""
    with contextlib.suppress(Exception):  # a step that cannot be imported says so itself
        module = importlib.import_module(MODULES[request["step"]])
        if hasattr(module, "prepare"):
            module.prepare(Path(request["directory"], request["spec"]))
    gc.freeze()  # garbage is not looked for there again, which would copy the memory
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        status = run()
    finally:
        os._exit(status)


def _run_step(
    request: dict[str, Any],
    connection: socket.socket,
    streams: list[int],
    inherited: list[socket.socket],
    run: Callable[[str, str], None],
) -> int:
    """Run a step for whoever asked, and send them its exit code."""
    os.chdir(request["directory"])
    os.setsid()  # with the compilers that it starts, to be stopped with them
    # Builds that a shell runs in the background ignore it, and so would the compilers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    faulthandler.enable(2, all_threads=False)  # a crash of native code shows where it was called
    for other in inherited:
        other.close()
    connection.sendall(_STARTED)
    status = _ended(lambda: run(request["step"], request["spec"]))
    # Whoever asked ends as soon as it knows the status, and is taken to have been stopped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    if request["step"] == _LAST:
        # The server ends. Once the status is known, the directory may be removed.
        Path(_SOCKET).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        connection.sendall(bytes([status]))
    return status


def _ended(run: Callable[[], None]) -> int:
    """Run, and return the exit code that the interpreter would have."""
    try:
        run()
    except SystemExit as error:
        if isinstance(error.code, int) or error.code is None:
            return error.code or 0
        print(error.code, file=sys.stderr)  # noqa: T201
        return 1
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        return 1
    return 0


def main() -> NoReturn:
    """Serve on the socket whose number the command line has."""
    serve(socket.socket(fileno=int(sys.argv[1])), run_step)
    raise SystemExit


if __name__ == "__main__":
    main()
