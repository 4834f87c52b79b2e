"""What all tests gave with each version of torch: writes the table of the docs.

``make test`` leaves what pytest tells in build/tests/<version>, and ``make test-docs`` calls this.
"""

from __future__ import annotations

import platform
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from page import REPOSITORY, write_table

SUITES = ("unit", "wheels")


@dataclass(frozen=True)
class Suites:
    """What all suites gave with a version."""

    version: str
    day: str
    tests: int
    skipped: int
    failed: int

    @property
    def row(self) -> str:
        """The line of the table."""
        passed = self.tests - self.skipped - self.failed
        failed = f"**{self.failed}**" if self.failed else "0"
        return f"| {self.version} | {self.day} | {passed:,} | {self.skipped} | {failed} |"


def read(directory: Path) -> Suites | None:
    """What the runs with a version gave; None where a suite is missing."""
    files = [directory / f"{name}.xml" for name in SUITES]
    if not all(file.exists() for file in files):
        return None
    found = [suite for file in files for suite in ET.parse(file).iter("testsuite")]  # noqa: S314
    tests, skipped, failures, errors = (
        sum(int(suite.get(key, 0)) for suite in found)
        for key in ("tests", "skipped", "failures", "errors")
    )
    day = max(suite.get("timestamp", "")[:10] for suite in found)
    return Suites(directory.name, day, tests, skipped, failures + errors)


def table(found: list[Suites]) -> str:
    """The table as Markdown."""
    where = f"Python {platform.python_version()}, {platform.machine()}"
    head = ["| torch | run on | passed | skipped | failed |", "|---|---|---|---|---|"]
    return "\n".join([f"All tests ({where}):", "", *head, *(each.row for each in found)])


def main() -> None:
    """Write the table."""
    places = sorted((REPOSITORY / "build" / "tests").glob("*"))
    found = [suites for place in places if (suites := read(place))]
    if not found:
        sys.exit("build/tests has no results: run make test")
    write_table("suites", table(found))


if __name__ == "__main__":
    main()
