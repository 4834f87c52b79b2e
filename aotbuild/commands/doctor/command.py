"""``doctor``: ask everything, and print it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aotbuild.commands.doctor.caches import caches
from aotbuild.commands.doctor.finding import Finding
from aotbuild.commands.doctor.machine import machine
from aotbuild.commands.doctor.tools import tools
from aotbuild.commands.doctor.torch import torch
from aotbuild.commands.tables import print_heading, print_json, print_table

GROUPS: tuple[Callable[[], Iterable[Finding]], ...] = (tools, torch, machine, caches)

_LOOKS = {"good": "green", "note": "yellow", "wrong": "bold red"}


@dataclass(frozen=True)
class Diagnosis:
    """All findings."""

    findings: list[Finding]
    well: bool
    """Whether nothing is wrong."""
    format: int = 1


def diagnose(*, json: bool = False) -> int:
    """Print what is found of this machine and this environment.

    Args:
        json: Whether it is printed as JSON.

    Returns:
        0, or 1 where something is wrong.
    """
    findings = [finding for group in GROUPS for finding in group()]
    diagnosis = Diagnosis(findings, all(each.state != "wrong" for each in findings))
    if json:
        print_json(diagnosis)
        return int(not diagnosis.well)
    rows = [(each.subject, each.state, each.found) for each in findings]
    print_table(("", "", ""), rows, styles=_LOOKS)
    advice = [each for each in findings if each.fix]
    if advice:
        print_heading("\nwhat helps")
        print_table(("", ""), [(each.subject, each.fix) for each in advice])
    if not diagnosis.well:
        print_heading("\nno model can be built here yet")
    return int(not diagnosis.well)
