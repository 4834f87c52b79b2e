"""Processes: what becomes of a loaded model in a forked child.

Compiled code runs on OpenMP's threads, as torch's own does. They do not survive a fork, and the
first parallel loop in the child would wait for them for ever.
"""

from __future__ import annotations

import os

import torch

_used = False


def note_use() -> None:
    """Note that compiled code runs in this process, so that a child of it takes care."""
    global _used  # noqa: PLW0603  # a fact about the process
    _used = True


def _after_fork() -> None:
    if _used and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
