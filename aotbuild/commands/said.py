"""What of the output of a build is for the user: what aotbuild says in it.

The rest, of pip, CMake and Ninja, is of use where something fails in a way that aotbuild did not
foresee.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_FIRST = re.compile(r"(?P<indent> *)(?P<text>aotbuild: .*)")
_ERROR = "aotbuild: error: "
_WARNING = "aotbuild: warning: "
_LAST = 25
"""How many lines of the output are told where no error is."""


class Said:
    """Takes the lines of a build's output.

    Args:
        tell: Gets what is for the user: lines of aotbuild, and warnings as blocks, each once.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lines: list[str] = []
        self._block: list[str] = []
        self._indent = 0
        self._told: set[str] = set()
        self.errors: list[str] = []
        """The blocks of errors."""

    def take(self, line: str) -> None:
        """Take a line.

        Args:
            line: The line.
        """
        self._lines.append(line)
        if self._block and line.startswith(" " * (self._indent + 2)) and line.strip():
            self._block.append(line[self._indent :])
            return
        self._close()
        if match := _FIRST.fullmatch(line):
            self._indent = len(match["indent"])
            self._block = [match["text"]]

    def end(self) -> None:
        """Take the end of the output."""
        self._close()

    def _close(self) -> None:
        text, self._block = "\n".join(self._block), []
        if not text or text in self._told:
            return
        self._told.add(text)
        if text.startswith(_ERROR):
            self.errors.append(text)
        else:
            self._tell(text)

    @property
    def last(self) -> str:
        """The last lines of the output."""
        return "\n".join(list(self._telling())[-_LAST:])

    def _telling(self) -> Iterator[str]:
        return (line.rstrip() for line in self._lines if line.strip())
