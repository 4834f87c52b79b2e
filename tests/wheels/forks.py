"""Code run in forks of a process that has imported torch, which takes longer than most of it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from pathlib import Path

from sanitize import environment as sanitizing

_SERVER = """
import importlib, json, os, sys, traceback, warnings
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    code, directory, os.environ["AOTBUILD_ENGINE"] = json.loads(line)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.chdir(os.path.dirname(directory))
        sys.path.insert(0, directory)
        status = 1
        try:
            exec(code, {"__name__": "__main__"})
            status = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    os.close(write)
    with os.fdopen(read, errors="replace") as pipe:
        output = pipe.read()
    print(json.dumps([os.waitpid(child, 0)[1], output]), flush=True)
"""


@functools.cache
def _server(python: Path, imports: tuple[str, ...]) -> subprocess.Popen[str]:
    """A process that has imported modules, and forks for each piece of code."""
    return subprocess.Popen(
        [str(python), "-P", "-c", _SERVER, *imports],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **sanitizing()},
    )


def forked(
    python: Path, directory: Path, code: str, engine: str = "", imports: tuple[str, ...] = ()
) -> tuple[int, str]:
    """Run code with ``directory`` on its path, as a process of its own that need not import torch.

    Args:
        python: The interpreter.
        directory: Where the wheel was installed to.
        code: The code.
        engine: What runs the models; empty for the best one.
        imports: Other modules that it need not import.

    Returns:
        How it ended, and all that it printed.
    """
    server = _server(python, ("torch", *imports))
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([code, str(directory), engine]) + "\n")
    server.stdin.flush()
    status, output = json.loads(server.stdout.readline())
    return status, output
