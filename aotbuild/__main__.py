"""``python -m aotbuild``: commands for those who build and publish packages."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from aotbuild.errors import reported

if TYPE_CHECKING:
    # argparse has no public name for what add_subparsers() returns.
    Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit code is 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m aotbuild", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _declare_check(commands)
    _declare_tune(commands)
    _declare_repair(commands)
    options = parser.parse_args(arguments)
    with reported(whole=True):
        if options.command == "repair":
            from aotbuild.commands.repair import repair_wheels

            repair_wheels(options.wheels, options.wheel_dir, options.plat)
            return 0
        if options.command == "tune":
            from aotbuild.commands.tune import tune_project

            return tune_project(options.project, options.models, dry=options.dry_run)
        if options.torch:
            from aotbuild.commands.check_torch import print_parts

            return print_parts()
        from aotbuild.commands.check import check_project

        return check_project(options.project, options.models, explain=options.explain)


def _declare_check(commands: Commands) -> None:
    check = commands.add_parser(
        "check",
        help="check the declaration and trace each model, without compiling",
        description="Check [tool.aotbuild] of a project, import and trace each of its models, and "
        "show what they take and return. Nothing is compiled; the errors are those of a build.",
    )
    _declare_models(check)
    check.add_argument(
        "--explain",
        action="store_true",
        help="also show which models a build would find in the cache, and why not the others",
    )
    check.add_argument(
        "--torch",
        action="store_true",
        help="only list what builds use of torch's private parts, and what this torch lacks of it",
    )


def _declare_tune(commands: Commands) -> None:
    tune = commands.add_parser(
        "tune",
        help="measure by which recipe each model is the fastest, and pin it in aotbuild.lock.toml",
        description="Compile each model by all recipes that are possible, compare the results with "
        "the eager model, time them on one thread, and write the best ones with all figures into "
        "aotbuild.lock.toml beside the pyproject.toml. Builds use what it names. Run it on a "
        "machine that does nothing else.",
    )
    _declare_models(tune)
    tune.add_argument(
        "--dry-run", action="store_true", help="print the lock file, and do not write it"
    )


def _declare_models(command: argparse.ArgumentParser) -> None:
    """Which models of which project a command is for."""
    command.add_argument(
        "models", nargs="*", metavar="MODEL", help="names of declared models (default: all)"
    )
    command.add_argument(
        "--project",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="directory of the pyproject.toml (default: the current one)",
    )


def _declare_repair(commands: Commands) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
