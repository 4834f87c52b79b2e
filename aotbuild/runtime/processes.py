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

_LONGEST = 10.0
"""Seconds that the end of the interpreter waits for calls that run, at most."""

_used = False

_elsewhere = 0
"""Calls of the engine that a forked child has from threads of its parent, and that never end."""


def note_use() -> None:
    """Note that compiled code runs in this process, so that a child of it takes care."""
    global _used  # noqa: PLW0603  # a fact about the process
    _used = True


_models: weakref.WeakSet[Any] = weakref.WeakSet()


def remember(model: Any) -> None:
    """Let a model end with the interpreter."""
    _models.add(model)


def stop_here() -> None:
    """Hold this thread for ever; the process ends without it."""
    threading.Event().wait()


def _held(run: Callable[..., Any]) -> Callable[..., Any]:
    def held(*values: Any) -> Any:
        if threading.current_thread().daemon:
            stop_here()
        return run(*values)

    return held


def _at_exit() -> None:
    for model in _models:
        model._hold(_held)
    if sys.version_info >= (3, 14) or not _daemons():
        return  # no thread is ended
    until = time.monotonic() + _LONGEST
    time.sleep(_MOMENT)
    while _calling() and time.monotonic() < until:
        time.sleep(_MOMENT)


def _calling() -> bool:
    return _calls_in_c() > _elsewhere or any(map(_calls, _daemons()))


def _calls_in_c() -> int:
    # Only where a model has loaded it: to import it now would be in vain.
    engine = sys.modules.get(f"{__package__}._engine")
    return engine.running_calls() if engine else 0


def _daemons() -> list[int]:
    return [thread.ident for thread in threading.enumerate() if thread.daemon and thread.ident]


def _calls(thread: int) -> bool:
    """Whether a thread is in a function of this package, or of a model, and not held.

    On a busy machine a call that runs, or one that checks its values, takes longer than a moment.
    """
    modules = {type(model).__module__ for model in _models}
    frame = sys._current_frames().get(thread)
    inside = False
    while frame is not None:
        if frame.f_code is stop_here.__code__:
            return False
        name = str(frame.f_globals.get("__name__"))
        inside = inside or name in modules or name.startswith(f"{__package__}.")
        frame = frame.f_back
    return inside


atexit.register(_at_exit)


def _after_fork() -> None:
    global _elsewhere  # noqa: PLW0603  # a fact about the process
    _elsewhere = _calls_in_c()
    if _used and "torch" not in sys.modules:
        one_thread()
    elif _used and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
