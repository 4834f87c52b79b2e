"""``build``: the wheel that ``pip wheel --no-deps`` would build, with what is going on."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from aotbuild.commands.build.frontend import command_line
from aotbuild.commands.live import live
from aotbuild.commands.running import run
from aotbuild.commands.said import Said
from aotbuild.config.project import load_declared
from aotbuild.errors import BuildError
from aotbuild.progress.words import passed, size


def build_wheel(
    directory: Path,
    output: Path,
    *,
    isolation: bool = True,
    settings: Sequence[str] = (),
    verbose: bool = False,
) -> int:
    """Build the wheel of a project, and put it into a directory.

    Args:
        directory: Directory of the pyproject.toml.
        output: Where the wheel goes; a wheel of the same name is replaced.
        isolation: Whether it is built in an environment of its own.
        settings: What the build backend gets, each as ``KEY=VALUE``.
        verbose: Whether all is printed that pip, CMake and Ninja print.

    Returns:
        0, or 1 where the build fails; why has been printed to standard error then.

    Raises:
        AotBuildError: The declaration is wrong, or nothing here builds wheels.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # the build gives the same warnings
        project = load_declared(directory)
    begun = time.monotonic()
    with _place_in(output) as place, _temporary() as temporary:
        command = command_line(project.root, place, isolation=isolation, settings=settings)
        with live(project.package) as shown:
            # What is printed whole has the lines of aotbuild in it.
            said = Said((lambda _: None) if verbose else shown.say)

            def line(text: str) -> None:
                said.take(text)
                if verbose:
                    shown.say(text)

            status = run(command, temporary, line)
            said.end()
        wheels = sorted(place.glob("*.whl"))
        if status or not wheels:
            return _failed(said, status, verbose=verbose)
        for wheel in wheels:
            weight = size(wheel.stat().st_size)
            made = wheel.replace(output / wheel.name)
            print(f"{made}: {weight}, in {passed(time.monotonic() - begun)}")  # noqa: T201
    return 0


def _failed(said: Said, status: int, *, verbose: bool) -> int:
    """Print why a build failed: the block of its error, once."""
    if not said.errors:
        raise BuildError(
            f"the build failed with exit code {status}" if status else "the build made no wheel",
            why="" if verbose else f"its output ends with\n{said.last}",
            fix="" if verbose else "aotbuild build --verbose prints all of its output",
        )
    if not verbose:
        print("\n".join(said.errors), file=sys.stderr)  # noqa: T201
    return 1


@contextlib.contextmanager
def _place_in(output: Path) -> Iterator[Path]:
    """A directory inside that of the wheels, where one is not seen before it is whole."""
    made = [each for each in (output, *output.absolute().parents) if not each.exists()]
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".aotbuild-", dir=output) as name:
            yield Path(name).resolve()
    finally:
        for each in made:
            with contextlib.suppress(OSError):  # a wheel is in it
                each.rmdir()


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    """A directory for all temporary files of the build, also for what is interrupted."""
    directory = Path(tempfile.mkdtemp(prefix="aotbuild-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
