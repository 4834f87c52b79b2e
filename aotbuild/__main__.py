"""``python -m aotbuild check``: what a build would say, without a compiler and in seconds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from aotbuild.errors import reported


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m aotbuild", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="check the declaration and trace each model, without compiling",
        description="Check [tool.aotbuild] of a project, import and trace each of its models, and "
        "show what they take and return. Nothing is compiled; the errors are those of a build.",
    )
    check.add_argument(
        "models", nargs="*", metavar="MODEL", help="names of declared models (default: all)"
    )
    check.add_argument(
        "--project",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="directory of the pyproject.toml (default: the current one)",
    )
    given = parser.parse_args(arguments)
    with reported():
        from aotbuild.check import check_project

        return check_project(given.project, given.models)


if __name__ == "__main__":
    sys.exit(main())
