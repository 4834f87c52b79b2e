"""Times and sizes in words."""

from __future__ import annotations


def size(count: int) -> str:
    """A number of bytes, such as ``1.5 MB``."""
    for unit, bytes_of in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_of:
            return f"{count / bytes_of:.1f} {unit}"
    return f"{count} B"


def passed(seconds: float) -> str:
    """How long something took, such as ``0.3 s``, ``42 s`` and ``3 min 20 s``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def left(seconds: float) -> str:
    """How long something will take at most, roughly: ``about 40 s`` and ``about 3 min``."""
    if seconds >= 90:
        return f"about {round(seconds / 60)} min"
    return f"about {max(5, round(seconds / 5) * 5)} s"
