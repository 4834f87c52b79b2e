"""What the step verify found: its report, and the call that is repeated where a wheel is installed.

A report is a table with ``cases``, ``largest-error``, ``relative-error``, ``at``, for a quantised
model ``quantization-error``, and ``selftest`` where a call was recorded; or only ``unverified``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aotbuild.steps.files import write_depfile, write_text

VERIFIED = "verified.json"
"""The report."""

SELFTEST = "selftest.safetensors"
"""Inputs and outputs of the recorded call."""

UNVERIFIED = "unverified"
"""In a report, in place of all else: why the library could not be run."""


def write_report(directory: Path, report: dict[str, Any], dependencies: Iterable[Path]) -> None:
    """Write a report.

    Args:
        directory: Where it goes.
        report: The table.
        dependencies: Files of the project that were read.
    """
    write_depfile(directory / VERIFIED, dependencies)
    write_text(directory / VERIFIED, json.dumps(report, indent=1) + "\n")


def read_report(directory: Path) -> dict[str, Any]:
    """Read a report."""
    report: dict[str, Any] = json.loads((directory / VERIFIED).read_text(encoding="utf-8"))
    return report
