"""The guards of a trace, each with the line of the model that asked for it.

torch tells the guard that failed, in terms of its own symbols. While forward() is traced it runs as
ordinary Python, so that each guard can be noted with the line of the model that asked for it.
"""

from __future__ import annotations

import ast
import contextlib
import linecache
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from aotbuild.steps.export.plain_numbers import advice

_TORCH = f"{Path(torch.__file__).parent}{os.sep}"
_EXPORT = f"{_TORCH}export{os.sep}"

Frame: TypeAlias = tuple[str, int, str]
"""A file, the number of a line, and the name of the function."""


@dataclass
class Recorder:
    """The guards of a trace, each with the frames of the model that led to it."""

    guards: list[tuple[Any, list[Frame]]] = field(default_factory=list)
    shape_env: Any = None


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """Note every guard that a trace adds.

    torch 2.13 keeps a place for each guard too, but in its own code, not in the model's.
    """
    recorder = Recorder()
    original: Callable[..., Any] | None = getattr(ShapeEnv, "_log_guard", None)
    if original is None:  # another torch: the error is told without the line
        yield recorder
        return

    def log_guard(self: Any, prefix: str, guard: Any, *args: Any, **kwargs: Any) -> Any:
        if "suppressed" not in prefix:
            recorder.shape_env = self
            recorder.guards.append((guard, _frames(sys._getframe(1))))
        return original(self, prefix, guard, *args, **kwargs)

    setattr(ShapeEnv, "_log_guard", log_guard)  # noqa: B010  # torch gives it a type
    try:
        yield recorder
    finally:
        setattr(ShapeEnv, "_log_guard", original)  # noqa: B010


def _frames(frame: FrameType | None) -> list[Frame]:
    """The frames outside torch up to the call of torch.export, the innermost first."""
    frames: list[Frame] = []
    own = str(Path(__file__).parents[2])  # aotbuild itself
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_EXPORT):
            return frames
        if not name.startswith((_TORCH, own, "<")):
            frames.append((name, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return []


def line_of(frames: Sequence[Frame], project: Path) -> str:
    """The line of the project that led to a guard, or the innermost one outside torch."""
    frame = _own_frame(frames, project)
    if frame is None:
        return ""
    (file, number, function), own = frame
    shown = os.path.relpath(file, project.resolve()) if own else os.path.basename(file)  # noqa: PTH119
    return f"{shown}:{number} in {function}: {linecache.getline(file, number).strip()}"


def _own_frame(frames: Sequence[Frame], project: Path) -> tuple[Frame, bool] | None:
    """The innermost frame of the project, else of all, and whether it is the project's."""
    root = f"{project.resolve()}{os.sep}"
    own = [f for f in frames if f[0].startswith(root) and "-packages" not in f[0]]
    return ((own or frames)[0], bool(own)) if frames else None


def replacement(frames: Sequence[Frame], project: Path) -> str:
    """What to write in place of what makes a plain number of a size, if the line shows that."""
    frame = _own_frame(frames, project)
    if frame is None:
        return ""
    (file, number, _), _ = frame
    return next(filter(None, map(advice, _calls(file, number))), "")


def _calls(file: str, number: int) -> list[ast.Call]:
    """The calls with an argument in a line of code."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return []
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and node.args
        and node.lineno <= number <= (node.end_lineno or node.lineno)
    ]
