"""What is found of one thing that builds need or use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["good", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor."""

    subject: str
    state: State
    """``wrong``: no build can do; ``note``: builds do, and something is missing or slow."""
    found: str
    fix: str = ""
    """What to do, where there is something to do."""


def good(subject: str, found: str) -> Finding:
    """A thing that is as it should be."""
    return Finding(subject, "good", found)


def note(subject: str, found: str, fix: str = "") -> Finding:
    """A thing without which builds do.

    Args:
        subject: The thing.
        found: What is found of it.
        fix: What to do.
    """
    return Finding(subject, "note", found, fix)


def wrong(subject: str, found: str, fix: str) -> Finding:
    """A thing that every build fails by.

    Args:
        subject: The thing.
        found: What is found of it.
        fix: What to do.
    """
    return Finding(subject, "wrong", found, fix)
