"""The lines of code that a program is traced from."""

from __future__ import annotations

import contextlib
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.fx.proxy import TracerBase

_HIDDEN = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]), "<")


@contextlib.contextmanager
def recording_lines() -> Iterator[None]:
    """Note the line of each operator, in whatever function it is.

    torch 2.13 only notes frames of functions that are called ``forward``, so that an operator in a
    plain function, or in one that ``forward()`` calls, has no line of its own
    (``test_the_line_of_an_operator_is_the_innermost_one`` fails without this).
    """
    original: Any = getattr(TracerBase, "_filter_traceback_frames", None)
    if original is None:  # another torch: it notes what it likes
        yield
        return

    def frames(self: Any, summary: traceback.StackSummary) -> traceback.StackSummary:
        usual = {(frame.filename, frame.lineno) for frame in original(self, summary)}
        first = next(
            (i for i, frame in enumerate(summary) if (frame.filename, frame.lineno) in usual),
            len(summary),
        )
        inside = [frame for frame in summary[first:] if not frame.filename.startswith(_HIDDEN)]
        return traceback.StackSummary.from_list(inside)

    setattr(TracerBase, "_filter_traceback_frames", frames)  # noqa: B010  # torch gives it a type
    try:
        yield
    finally:
        setattr(TracerBase, "_filter_traceback_frames", original)  # noqa: B010


def traced_line(trace: str, project: Path) -> str:
    """The innermost line of a stack, of the project where one is.

    Args:
        trace: As torch.export notes it; files are named by their place among the modules.
        project: Directory of the project.
    """
    found = re.findall(r'File "(.*?)", line (\d+), in (.*)\n\s*(.*)', trace)
    roots = [project.resolve(), project.resolve() / "src", project.resolve() / "python"]
    own = [frame for frame in found if any((root / frame[0]).is_file() for root in roots)]
    for file, number, function, code in (own or found)[-1:]:
        name = file.removeprefix(f"{roots[0]}{os.sep}")
        return f"{name}:{number} in {function}: {code.strip()}"
    return ""
