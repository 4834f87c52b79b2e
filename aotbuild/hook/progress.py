"""Lines that show what a build does while it runs, where nobody else shows it."""

from __future__ import annotations

import atexit
import os
import sys
from typing import TYPE_CHECKING

from aotbuild.progress.events import VARIABLE

if TYPE_CHECKING:
    from aotbuild.config.project import Project
    from aotbuild.progress.channel import Channel

_open: list[Channel] = []
"""What shows the build of this process."""


def show_progress(project: Project) -> None:
    """Print a line as each step of this build begins and ends, by a thread of this process.

    The steps write into a pipe, of which they learn by the environment. Nothing is printed where
    that is set already: by a command of aotbuild, which shows the build itself, or to ``0``.

    Args:
        project: The project.
    """
    if os.environ.get(VARIABLE, "1") not in {"", "1", *(channel.path for channel in _open)}:
        return
    _close()
    from aotbuild.progress.channel import Channel
    from aotbuild.progress.durations import Durations
    from aotbuild.progress.lines import Lines

    out = sys.stdout

    def write(line: str) -> None:
        print(line, file=out, flush=True)

    try:
        channel = Channel(Lines(write, Durations(project.package)))
    except OSError:  # such as where no temporary file can be made, of which the build tells
        return
    _open.append(channel)
    os.environ[VARIABLE] = channel.path


@atexit.register
def _close() -> None:
    while _open:
        _open.pop().close()
