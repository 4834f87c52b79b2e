"""``aotbuild``, or ``python -m aotbuild``: commands for those who build and publish packages.

What a command does is in ``aotbuild.commands``, a module or a folder for each; here are its words.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import click

from aotbuild.commands.bench import RUNTIMES
from aotbuild.errors import reported

_F = TypeVar("_F", bound=Callable[..., Any])

_ENDS = """\b
It ends with 0 where all is well, 1 where something is wrong, which standard
error tells, 2 where its arguments are wrong, and 130 where it was interrupted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    with reported(whole=True):
        try:
            return aotbuild.main(arguments, standalone_mode=False) or 0
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except click.Abort:
            raise KeyboardInterrupt from None


@click.group(
    epilog=_ENDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version("aotbuild"), prog_name="aotbuild")
def aotbuild() -> None:
    """Ship compiled PyTorch models inside Python wheels.

    Models are declared in [tool.aotbuild] of pyproject.toml, and compiled when the wheel is built:
    pip wheel . needs none of these commands.
    """


def _of_models(command: _F) -> _F:
    """Which models of which project a command is for."""
    models = click.argument("models", nargs=-1, metavar="[MODEL]...")
    return models(_of_project(command))


def _of_project(command: _F) -> _F:
    """Which project a command is for."""
    return click.option(
        "--project",
        type=click.Path(path_type=Path),
        default=Path(),
        metavar="DIR",
        help="Directory of the pyproject.toml.  [default: the current one]",
    )(command)


def _json(command: _F) -> _F:
    return click.option("--json", is_flag=True, help="Print JSON, for programs.")(command)


@aotbuild.command()
@_of_models
@click.option(
    "--explain",
    is_flag=True,
    help="Also show which models a build would find in the cache, and why not the others.",
)
@click.option(
    "--torch",
    "parts",
    is_flag=True,
    help="Only list what builds use of torch's private parts, and what this torch lacks of it.",
)
@_json
def check(models: Sequence[str], project: Path, *, explain: bool, parts: bool, json: bool) -> int:
    """Check the declaration and trace each model, without compiling.

    Checks [tool.aotbuild] of a project, imports and traces the named models (all of them where none
    is named), and shows what they take and return. Nothing is compiled; the errors are those of a
    build.
    """
    if parts:
        from aotbuild.commands.check_torch import print_parts

        return print_parts()
    from aotbuild.commands.check import check_project

    return check_project(project, models, explain=explain, json=json)


@aotbuild.command()
@_of_models
@_json
def plan(models: Sequence[str], project: Path, *, json: bool) -> int:
    """Show which steps a build would run, and why, without compiling.

    Traces the named models (all of them where none is named), and looks for what a build would
    compile in the cache: of what is not there, it tells what has changed.
    """
    from aotbuild.commands.plan import plan_project

    return plan_project(project, models, json=json)


@aotbuild.command()
@_of_project
@click.option(
    "-w",
    "--wheel-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Where the wheel goes.  [default: the current directory]",
)
@click.option(
    "--no-isolation",
    is_flag=True,
    help="Build in this environment, with the torch that is installed.",
)
@click.option(
    "-C",
    "--config-setting",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting of the build backend, as pip takes it.",
)
@click.option("-v", "--verbose", is_flag=True, help="Print all that pip, CMake and Ninja print.")
def build(
    project: Path, wheel_dir: Path, *, no_isolation: bool, settings: Sequence[str], verbose: bool
) -> int:
    """Build the wheel of a project, and show how far it is.

    It is the wheel that pip wheel --no-deps builds, of which pip shows nothing before the end. On a
    terminal there are bars for the steps that run; elsewhere there is a line as each begins and
    ends.
    """
    from aotbuild.commands.build.command import build_wheel

    for setting in settings:
        if "=" not in setting:
            raise click.UsageError(f'"{setting}" is no setting: write -C KEY=VALUE')
    return build_wheel(
        project, wheel_dir, isolation=not no_isolation, settings=settings, verbose=verbose
    )


@aotbuild.command()
@click.argument("source", default="", metavar="[MODULE:CLASS]")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=DTYPE[SHAPE]",
    help="A tensor that the model takes, such as 'image=float32[batch,1,8,8]'.",
)
@click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="NAME=MIN..MAX",
    help="The sizes that a name in a shape stands for, such as batch=1..64.",
)
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="What the constructor takes, such as hidden=64.",
)
@click.option("--weights", default="", metavar="FILE", help="The file of the weights.")
@click.option("--name", default="", help="The name of the model.  [default: that of the class]")
@click.option(
    "--package",
    default="",
    help="Where it is imported from.  [default: models, in the package of the class]",
)
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    metavar="DIR",
    help="Directory of the project.  [default: the current one]",
)
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing.")
def init(project: Path, *, dry_run: bool, yes: bool, **wanted: Any) -> int:
    """Declare a model of a project in its pyproject.toml.

    Finds the classes of torch.nn.Module by reading the source, moves what setuptools, hatchling,
    poetry, flit or uv is told to scikit-build-core, adds the declaration, shows the difference, and
    traces the model. What cannot be moved, or traced, changes nothing.
    """
    from aotbuild.commands.init.command import Wanted, init

    return init(project, Wanted(**wanted), dry=dry_run, yes=yes)


@aotbuild.command()
@click.argument("directory", type=click.Path(path_type=Path))
def new(directory: Path) -> int:
    """Write a complete project, to begin with.

    With a network, its training, the declaration of its model and a test. The name of the directory
    is that of the project.
    """
    from aotbuild.commands.new.command import new

    return new(directory)


@aotbuild.command()
@click.option("--compile", "compiled", is_flag=True, help="Compile the models, too.")
@click.option("--background", "later", is_flag=True, help="Compile them while you go on.")
@click.option("--in-background", is_flag=True, hidden=True)
@_of_project
def develop(project: Path, *, compiled: bool, later: bool, in_background: bool) -> int:
    """Make the models of a project importable here in seconds.

    Nothing is compiled. Installs the project into this environment in editable mode. Eager torch
    runs the models, behind the same checks and with the same methods as when they are compiled.
    Called again, it makes anew what is older than its sources, and is quiet where nothing is. With
    --compile the compiled models take their place.
    """
    from aotbuild.commands.develop.command import develop

    if compiled and later:
        raise click.UsageError("--compile waits for the compiled models, --background does not")
    return develop(project, compiled=compiled, later=later, in_background=in_background)


@aotbuild.command()
@_of_models
@click.option("--dry-run", is_flag=True, help="Print the lock file, and do not write it.")
def tune(models: Sequence[str], project: Path, *, dry_run: bool) -> int:
    """Measure by which recipe each model is the fastest, and pin it.

    Compiles the named models (all of them where none is named) by all recipes that are possible,
    compares the results with the eager model, times them on one thread, and writes the best ones
    with all figures into aotbuild.lock.toml beside the pyproject.toml. Builds use what it names.
    Run it on a machine that does nothing else.
    """
    from aotbuild.commands.tune import tune_project

    return tune_project(project, models, dry=dry_run)


@aotbuild.command()
@click.argument(
    "wheels", nargs=-1, required=True, metavar="WHEEL...", type=click.Path(path_type=Path)
)
@click.option(
    "-w",
    "--wheel-dir",
    type=click.Path(path_type=Path),
    default=Path("wheelhouse"),
    show_default=True,
    metavar="DIR",
    help="Where the repaired wheels go.",
)
@click.option("--plat", metavar="TAG", help="Platform tag.  [default: the best possible]")
def repair(wheels: Sequence[Path], wheel_dir: Path, plat: str | None) -> None:
    """Give wheels the platform tag with which they can be published.

    Calls auditwheel so that torch's libraries stay out of the wheels, imports what comes out, runs
    its self-test, and prints the platform tag.
    """
    from aotbuild.commands.repair import repair_wheels

    repair_wheels(wheels, wheel_dir, plat)


@aotbuild.command()
@click.argument("names", nargs=-1, required=True, metavar="WHEEL|PACKAGE|LIBRARY...")
@click.option("--diff", is_flag=True, help="Of two, an old and a new one: show what differs.")
@_json
def inspect(names: Sequence[str], *, diff: bool, json: bool) -> int:
    """Show what is in a wheel, without running it.

    Its models with what they take and return, what they were compiled for and by, how far they are
    from the eager model, what they need, and the size of each part. Names may be wheels,
    directories, compiled libraries inside them, and installed packages such as digits.models.
    """
    from aotbuild.commands.inspect.command import compare, inspect

    if diff and len(names) != 2:
        raise click.UsageError(f"--diff is for two wheels or packages, not for {len(names)}")
    return compare(*names, json=json) if diff else inspect(names, json=json)


@aotbuild.command()
@click.argument("name", metavar="WHEEL|PACKAGE")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="NAME=N[,N...]",
    help="Sizes of a dimension, such as batch=1,8.  [default: the smallest, and 16]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0, max=256),
    default=1,
    show_default=True,
    help="Threads of a call; 0 for one on each core.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="How long each case is measured; 0 for ten calls in one process.",
)
@click.option(
    "--beside",
    "arms",
    type=click.Choice(RUNTIMES),
    multiple=True,
    metavar="RUNTIME",
    help=f"Measure {', '.join(RUNTIMES[:-1])} or {RUNTIMES[-1]}, too; can be given several times.",
)
@click.option(
    "--project",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="The project that declares the models, for --beside; where it is called, by default.",
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the times as a picture, such as bench.svg.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="REPORT",
    help="What --json printed before, to compare with.",
)
@click.option(
    "--fail-above",
    metavar="PERCENT",
    help="End with 1 where a case is so much slower than before, such as 5%.",
)
@_json
def bench(
    name: str,
    models: Sequence[str],
    sizes: Sequence[str],
    *,
    threads: int,
    seconds: float,
    arms: Sequence[str],
    project: Path | None,
    picture: Path | None,
    against: Path | None,
    fail_above: str | None,
    json: bool,
) -> int:
    """Measure the models of a wheel or an installed package.

    Each model is measured as compiled for each target that runs here, with the values that the
    build recorded, in processes of its own that take turns: the time of a call, of the first one
    and of the import, and the memory. Run it on a machine that does nothing else.
    """
    from aotbuild.commands.bench.command import bench

    if fail_above is not None and against is None:
        raise click.UsageError("--fail-above is for --against REPORT")
    if project is not None and not arms:
        raise click.UsageError("--project is for --beside RUNTIME")
    return bench(
        name,
        models,
        sizes=dict(map(_sizes, sizes)),
        threads=threads,
        seconds=seconds,
        arms=tuple(dict.fromkeys(arms)),
        project=project,
        picture=picture,
        against=against,
        fail_above=None if fail_above is None else _percent(fail_above),
        json=json,
    )


def _sizes(text: str) -> tuple[str, list[int]]:
    name, _, values = text.partition("=")
    numbers = values.split(",")
    if not name or not all(number.strip().isdecimal() for number in numbers):
        raise click.UsageError(f'"{text}" names no sizes: write --size batch=1,8')
    return name.strip(), [int(number) for number in numbers]


def _percent(text: str) -> float:
    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        raise click.UsageError(f'"{text}" is no percentage: write --fail-above 5%') from None


@aotbuild.command()
@_json
def doctor(*, json: bool) -> int:
    """Tell whether models can be built here, and what would help.

    Tries the compiler, and looks for Python's headers, CMake, ninja, torch with the private parts
    that builds use, CPU levels, memory, disk, accelerators and caches.
    """
    from aotbuild.commands.doctor.command import diagnose

    return diagnose(json=json)


@aotbuild.group(invoke_without_command=True)
@_json
@click.pass_context
def cache(context: click.Context, *, json: bool) -> int:
    """Show what is in the cache of this machine.

    By kinds: compiled models, their libraries, engines, headers.
    """
    from aotbuild.commands.cache import show

    return 0 if context.invoked_subcommand else show(json=json)


@cache.command()
@click.option("--all", "everything", is_flag=True, help="Remove all that no build uses now.")
@click.option("--max-size", metavar="SIZE", help="Leave so much at most, such as 500M or 2G.")
@click.option(
    "--unused-days", type=click.FloatRange(min=0), metavar="DAYS", help="Remove what is older."
)
def prune(*, everything: bool, max_size: str | None, unused_days: float | None) -> int:
    """Remove from the cache what was not used for longest.

    A build that runs at the same time goes on, and compiles what it does not find.
    """
    from aotbuild.cache.settings import bytes_of
    from aotbuild.commands.cache import prune

    if not everything and max_size is None and unused_days is None:
        raise click.UsageError("tell what to remove: --all, --max-size or --unused-days")
    where, fix = "command line: --max-size", "write it as 500M or 2G"
    limit = None if max_size is None else bytes_of(max_size, where=where, fix=fix)
    return prune(0 if everything else limit, unused_days)


if __name__ == "__main__":
    sys.exit(main())
