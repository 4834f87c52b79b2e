"""``inspect``: find what is named, and print what is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from aotbuild.commands.inspect.differences import differences
from aotbuild.commands.inspect.text import print_report
from aotbuild.commands.tables import print_heading, print_json, print_table
from aotbuild.config.values import LIBRARY_SUFFIXES
from aotbuild.errors import InspectError
from aotbuild.steps.reports.contents import (
    Contents,
    around,
    open_directory,
    open_installed,
    open_wheel,
)
from aotbuild.steps.reports.describing import short
from aotbuild.steps.reports.report import Report, make_report


def inspect(names: Sequence[str], *, json: bool = False) -> int:
    """Print what is in wheels, packages or libraries.

    Args:
        names: Paths of them, or names of what is installed.
        json: Whether the reports are printed as a list of JSON.

    Raises:
        InspectError: One of them cannot be read, or has no models.
    """
    reports = [report_of(name) for name in names]
    if json:
        print_json(reports)
        return 0
    for i, report in enumerate(reports):
        if i:
            print_heading("")
        print_report(report)
    return 0


def compare(old: str, new: str, *, json: bool = False) -> int:
    """Print what differs between two wheels, packages or libraries.

    Args:
        old: The path or the name of one.
        new: That of the other.
        json: Whether the differences are printed as a list of JSON.

    Raises:
        InspectError: One of them cannot be read, or has no models.
    """
    found = differences(report_of(old), report_of(new))
    if json:
        print_json(found)
    elif found:
        rows = [(each.what, _short(each.old), _short(each.new)) for each in found]
        print_table(("what", "old", "new"), rows)
    else:
        print_heading("no difference")
    return 0


def _short(value: str) -> str:
    """A value as a table shows it: of a digest, the first digits."""
    return short(value) if re.fullmatch("[0-9a-f]{64}", value) else value


def report_of(name: str) -> Report:
    """The report of what a path leads to, or else of what is installed by that name.

    Raises:
        InspectError: It cannot be read, or has no models.
    """
    path = Path(name)
    if path.suffix in LIBRARY_SUFFIXES and path.is_file():
        return _of_library(path)
    return make_report(contents_of(name))


def contents_of(name: str) -> Contents:
    """The files of a wheel or a directory, or else of what is installed by a name.

    Raises:
        InspectError: There is nothing by that name, or it is no wheel.
    """
    path = Path(name)
    if path.is_file():
        return open_wheel(path)
    contents = open_directory(path) if path.is_dir() else open_installed(name)
    if contents is None:
        raise InspectError(
            f'there is no "{name}"',
            where="command line",
            why="no file or directory has this path, and nothing that is installed this name",
            fix="name a wheel, a directory, a compiled library, or an installed package such as "
            "digits.models",
        )
    return contents


def _of_library(path: Path) -> Report:
    """The report of the package around a library, of which only the library is told."""
    for package in around(path):
        file = path.resolve().relative_to(package).as_posix()
        report = make_report(open_directory(package), file)
        if any(model.variants for each in report.packages for model in each.models):
            return report
    raise InspectError(
        "this is no compiled model of a package",
        where=str(path),
        why="what a library takes and needs is told by the files beside it, and no model.json "
        "around it names this one",
        fix="name a library inside an installed package, such as "
        "site-packages/digits/models/net/cpu-x86-64-v3.so, or the wheel",
    )
