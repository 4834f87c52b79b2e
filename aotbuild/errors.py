"""The errors of aotbuild: one class per failure, each printed as one block of text.

Nothing here imports torch, so every world of the build can use it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Iterator

INTERRUPTED = 130
"""128 and the number of SIGINT."""


class AotBuildError(Exception):
    """A failure that the user of aotbuild can do something about.

    Args:
        what: What happened, in one sentence.
        where: The place, such as ``pyproject.toml: tool.aotbuild.models.net.weights``.
        why: The reason, when ``what`` does not say it already.
        fix: What to do.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.fix = fix

    def block(self) -> str:
        """The error as one block of lines, without a traceback."""
        lines = [f"aotbuild: error: {self.what}"]
        for label, text in (("where", self.where), ("why", self.why), ("fix", self.fix)):
            if text:
                body = textwrap.indent(text.rstrip(), " " * 9).lstrip()
                lines.append(f"  {label + ':':<6} {body}")
        return "\n".join(lines)


class ConfigError(AotBuildError):
    """The declaration in pyproject.toml is wrong."""


class RequirementError(AotBuildError):
    """A requirement on torch is missing or contradicts the torch of the build."""


class ToolchainError(AotBuildError):
    """The machine lacks something that compiling needs."""


class SourceError(AotBuildError):
    """A model's source cannot be imported or does not make a module."""


class WeightsError(AotBuildError):
    """A weights file cannot be read or does not fit its module."""


class ExportError(AotBuildError):
    """torch.export cannot trace a model with the declared inputs."""


class CompileError(AotBuildError):
    """AOTInductor or the C++ compiler failed."""


class VerifyError(AotBuildError):
    """The compiled model does not give what the eager model gives."""


class DiskError(AotBuildError):
    """A file could not be written."""


class RepairError(AotBuildError):
    """A wheel cannot be made fit to be published."""


class InitError(AotBuildError):
    """A declaration cannot be made for a project, of which nothing is changed then."""


class DevelopError(AotBuildError):
    """A project cannot be installed for development."""


class BuildError(AotBuildError):
    """A wheel could not be built, for a reason that is not aotbuild's."""


class BenchError(AotBuildError):
    """A model cannot be measured here."""


class InspectError(AotBuildError):
    """What a command is asked to look at has no compiled models, or cannot be read."""


class StepKilledError(AotBuildError):
    """A step of the build ended before it was done."""


class InternalError(AotBuildError):
    """Something failed that aotbuild did not foresee."""


def from_os_error(error: OSError) -> DiskError:
    """A failed write (a full disk, a read-only directory) as an error of ours."""
    name = str(error.filename or "a file of the build")
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskError(
            f"the disk is full while writing {name}",
            why=error.strerror or "",
            fix="free some space, or point TMPDIR (and build-dir) at a larger disk; "
            "nothing half-written was kept",
        )
    return DiskError(f"cannot use {name}", why=error.strerror or str(error))


def killed(step: str, spec: str, number: int | None = None) -> StepKilledError:
    """The error for a step that ended without a message of its own.

    Args:
        step: The step.
        spec: Its specification file.
        number: The signal that ended it; None where that is not known.
    """
    memory = {
        "why": "the machine probably ran out of memory",
        "fix": "run fewer steps at once: CMAKE_BUILD_PARALLEL_LEVEL=1",
    }
    crash = {
        "why": "native code crashed: compiled code, torch or an operator of the project",
        "fix": "the lines above show the Python code that called it; if that is not your own, "
        "report it to the aotbuild project",
    }
    name = "" if number is None else _signal_name(number)
    if name in _CRASHES:
        return StepKilledError(f"the step {step} crashed with {name}", where=spec, **crash)
    if name in {"", "SIGKILL"}:
        by = f" by {name}" if name else ""
        return StepKilledError(f"the step {step} was killed{by}", where=spec, **memory)
    return StepKilledError(
        f"the step {step} was killed by {name}",
        where=spec,
        why="another process, or the system, sent it this signal",
    )


_CRASHES = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGTRAP", "SIGSYS"}


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def debugging() -> bool:
    """Whether the user asked for tracebacks with ``AOTBUILD_DEBUG=1``."""
    return os.environ.get("AOTBUILD_DEBUG", "0") not in {"", "0"}


@contextlib.contextmanager
def reported(*, whole: bool = False) -> Iterator[None]:
    """The single boundary at which an exception becomes one block and exit code 1.

    What the user interrupts ends with the exit code that shells know.

    Args:
        whole: Whether this is the command that the user sees, which then says so in one line; a
            step of a build leaves that to what runs it.
    """
    try:
        yield
    except KeyboardInterrupt:
        if debugging():
            traceback.print_exc()
        if whole:
            print("aotbuild: interrupted; nothing half-written was kept", file=sys.stderr)  # noqa: T201
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001
        if debugging():
            traceback.print_exc()
        raise SystemExit(as_aotbuild_error(error).block()) from None


def as_aotbuild_error(error: Exception) -> AotBuildError:
    """Any exception as one that is printed as a block."""
    if isinstance(error, AotBuildError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        return from_os_error(error)
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "torch":
        return _moved(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return InternalError(
        f"unexpected {type(error).__name__}: {error}",
        where=f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}",  # noqa: PTH119
        fix="set AOTBUILD_DEBUG=1 for the traceback, and report it to the aotbuild project",
    )


def _moved(error: ImportError) -> AotBuildError:
    """The error for a part of torch that is not where this aotbuild looks for it."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else str(error)
    if error.name == "torch" and isinstance(error, ModuleNotFoundError):
        return RequirementError(
            "torch is not installed here",
            where="environment",
            fix="add it to build-system.requires, and where builds are not isolated, install it",
        )
    return CompileError(
        "this aotbuild cannot build with the torch that is installed",
        why=f"there is no {missing}" if missing == error.name else str(missing),
        fix="install a newer aotbuild, or an older torch",
    )


def warn(what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
    """Print a warning in the shape of an error block; the build goes on.

    Args:
        what: What happened, in one sentence.
        where: The place.
        why: The reason.
        fix: What to do.
    """
    block = AotBuildError(what, where=where, why=why, fix=fix).block()
    print(block.replace("aotbuild: error:", "aotbuild: warning:", 1), file=sys.stderr)  # noqa: T201
