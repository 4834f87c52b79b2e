"""Every supported example of torch's export database: compiled and compared, or why not.

Run by ``make export-db``; it takes some minutes. ``tests/wheels/test_export_db.py`` has the ones
that were special.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from export_db import COMPARE, NAME, supported, write_project
from wheels import pip_wheel

from aotbuild.commands.check import check_project


def main() -> int:
    """Print what became of each example; 1 if one is neither right nor refused by a message."""
    names = supported()
    with tempfile.TemporaryDirectory() as temporary:
        whole, rest = Path(temporary, "all"), Path(temporary, "compiled")
        write_project(whole, names)
        messages = {name: _message(whole, name) for name in names}
        right = [name for name in names if not messages[name]]
        write_project(rest, right)
        build = pip_wheel(rest)
        if build.returncode:
            print(build.output)
            return 1
        installed = Path(temporary, "installed")
        install = ["-m", "pip", "-q", "install", "--no-deps", "--target", str(installed)]
        subprocess.run([sys.executable, *install, *map(str, build.wheels)], check=True)
        done = subprocess.run(
            [sys.executable, "-P", "-c", f"NAMES = {right!r}\n{COMPARE}"],
            env={"PYTHONPATH": str(installed)},
            cwd=temporary,
            check=True,
            capture_output=True,
            text=True,
        )
    differing = json.loads(done.stdout.splitlines()[-1])
    for name in names:
        print(f"{name:36} {messages[name] or differing.get(name, 'right')}")
    print(f"{NAME}: {len(right) - len(differing)} of {len(names)} right, {len(differing)} differ")
    return int(bool(differing) or any("unexpected" in each for each in messages.values()))


def _message(project: Path, name: str) -> str:
    """Why an example is refused, in one line; empty if it is not."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        failed = check_project(project, [name])
    return told.getvalue().splitlines()[0] if failed else ""


if __name__ == "__main__":
    sys.exit(main())
