"""Processes that hold one arm each, which are timed in turn.

Peers bring OpenMP runtimes, thread pools and states of the allocator; in processes of their own
they do not disturb one another, and because blocks of calls take turns, a drift of the machine hits
all. One process for all arms can be asked for, to see what that changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cases import Case
from peers import PEERS
from prepare import Prepared

HERE = Path(__file__).resolve().parent
WORKER = HERE / "worker.py"


class PeerError(Exception):
    """An arm that cannot be opened or called; what it printed last."""


class Worker:
    """A process that answers commands."""

    def __init__(self, env: dict[str, str]) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env={**os.environ, **env},
        )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ask(self, do: str, arm: str, **arguments: Any) -> Any:
        """Give a command and wait for what it returns.

        Raises:
            PeerError: The process ended.
        """
        assert self._process.stdin  # noqa: S101  # it is a pipe
        assert self._process.stdout  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, "arm": arm, **arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            raise PeerError(self._said.read().strip()[-2000:])
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._said.close()


@contextlib.contextmanager
def opened(
    case: Case,
    peers: Sequence[str],
    prepared: Prepared,
    *,
    runners: int = 1,
    threads: int = 1,
    together: bool = False,
) -> Iterator[tuple[dict[str, Worker], dict[str, str], dict[str, str]]]:
    """Open each arm, and compare its result with eager's before anything is timed.

    Args:
        case: The model and its inputs.
        peers: The arms.
        prepared: What was prepared for them.
        runners: How many threads will call it.
        threads: How many threads a call has.
        together: Open all in one process.

    Yields:
        The processes of those that match; what to say of the match of each; and errors.
    """
    workers: dict[str, Worker] = {}
    matches: dict[str, str] = {}
    errors: dict[str, str] = {}
    env = {**prepared.env, "OMP_NUM_THREADS": str(threads)}
    everyone = [Worker(env)] if together else []
    try:
        for peer in peers:
            if (case.model, peer) in prepared.failed:
                matches[peer] = "cannot be prepared"
                errors[peer] = prepared.failed[case.model, peer]
                continue
            worker = everyone[0] if together else Worker(env)
            if not together:
                everyone.append(worker)
            where = str(prepared.place(case, peer))
            try:
                size = {"runners": runners, "threads": threads}
                worker.ask("open", peer, peer=peer, case=case.name, directory=where, **size)
                if not PEERS[peer].computes:
                    matches[peer], workers[peer] = "", worker
                    continue
                difference, close = worker.ask(
                    "difference", peer, path=str(prepared.reference(case))
                )
            except PeerError as error:
                matches[peer], errors[peer] = "fails", str(error)
                continue
            matches[peer] = (
                (f"{difference:.0e}" if difference else "equal")
                if close
                else f"MISMATCH ({difference:.0e})"
            )
            if close:
                workers[peer] = worker
        yield workers, matches, errors
    finally:
        for worker in everyone:
            worker.close()
