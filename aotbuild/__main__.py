"""``python -m aotbuild``: commands for those who build and publish packages."""

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
    check.add_argument(
        "--explain",
        action="store_true",
        help="also show which models a build would find in the cache, and why not the others",
    )
    tune = commands.add_parser(
        "tune",
        help="measure by which recipe each model is the fastest, and pin it in aotbuild.lock.toml",
        description="Compile each model by all recipes that are possible, compare the results with "
        "the eager model, time them on one thread, and write the best ones with all figures into "
        "aotbuild.lock.toml beside the pyproject.toml. Builds use what it names. Run it on a "
        "machine that does nothing else.",
    )
    tune.add_argument(
        "models", nargs="*", metavar="MODEL", help="names of declared models (default: all)"
    )
    tune.add_argument(
        "--project",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="directory of the pyproject.toml (default: the current one)",
    )
    tune.add_argument(
        "--dry-run", action="store_true", help="print the lock file, and do not write it"
    )
    repair = commands.add_parser(
        "repair",
        help="give wheels the platform tag with which they can be published",
        description="Call auditwheel so that torch's libraries stay out of the wheels, import what "
        "comes out, run its self-test, and print the platform tag.",
    )
    repair.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL", help="the wheels")
    repair.add_argument(
        "-w",
        "--wheel-dir",
        type=Path,
        default=Path("wheelhouse"),
        metavar="DIR",
        help="where the repaired wheels go (default: wheelhouse)",
    )
    repair.add_argument("--plat", metavar="TAG", help="platform tag (default: the best possible)")
    given = parser.parse_args(arguments)
    with reported(whole=True):
        if given.command == "repair":
            from aotbuild.commands.repair import repair_wheels

            repair_wheels(given.wheels, given.wheel_dir, given.plat)
            return 0
        if given.command == "tune":
            from aotbuild.commands.tune import tune_project

            return tune_project(given.project, given.models, dry=given.dry_run)
        from aotbuild.commands.check import check_project

        return check_project(given.project, given.models, explain=given.explain)


if __name__ == "__main__":
    sys.exit(main())
