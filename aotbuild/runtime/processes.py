"""Forks and the end of the interpreter: how loaded models survive them.

Compiled code runs on OpenMP's threads, as torch's own does. They do not survive a fork, and the
first parallel loop in the child would wait for them for ever.

A daemon thread that is in a function of torch when the interpreter ends is ended there, which C++
answers by aborting the process (before Python 3.14). Such threads are held before they call it.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from .engines import one_thread
from .lazy import torch

_MOMENT = 0.02
"""Seconds in which threads come to where they are held: a call's checks take microseconds."""

_used = False


def note_use() -> None:
    """Note that compiled code runs in this process, so that a child of it takes care."""
    global _used  # noqa: PLW0603  # a fact about the process
    _used = True


_models: weakref.WeakSet[Any] = weakref.WeakSet()


def remember(model: Any) -> None:
    """Let a model end with the interpreter."""
    _models.add(model)


def _held(run: Callable[..., Any]) -> Callable[..., Any]:
    def held(*values: Any) -> Any:
        if threading.current_thread().daemon:
            threading.Event().wait()  # for ever; the process ends without it
        return run(*values)

    return held


def _at_exit() -> None:
    for model in _models:
        model._hold(_held)
    if any(thread.daemon for thread in threading.enumerate()):
        time.sleep(_MOMENT)


atexit.register(_at_exit)


def _after_fork() -> None:
    if _used and "torch" not in sys.modules:
        one_thread()
    elif _used and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
