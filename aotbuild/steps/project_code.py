"""Importing the project's own code: where from, what it read, and errors that it raised."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import traceback
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from aotbuild.config.messages import did_you_mean, located
from aotbuild.config.resolve import is_library_file
from aotbuild.errors import AotBuildError, SourceError


@contextmanager
def importing(import_paths: Sequence[str], package: str) -> Iterator[None]:
    """Make the project's modules importable, with a placeholder for the package to be built.

    A project's ``__init__.py`` may say ``from .models import net``, and a model's source lies
    below it: while the model is compiled, ``models`` is an empty promise.
    """
    placeholder = _PlaceholderFinder(package)
    sys.path[:0] = import_paths
    sys.meta_path.insert(0, placeholder)
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        sys.meta_path.remove(placeholder)
        del sys.path[: len(import_paths)]


class _PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the package to be built, as a module whose every attribute is a placeholder."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self._package:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: types.ModuleType) -> None:
        def attribute(name: str) -> _Placeholder:
            if name.startswith("__"):
                raise AttributeError(name)
            return _Placeholder(f"{module.__name__}.{name}")

        module.__dict__["__getattr__"] = attribute


class _Placeholder:
    """Stands for a compiled model while the models are compiled."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        raise SourceError(
            f'"{self._name}" is called while it is being compiled',
            fix="call compiled models in functions, not when a module is imported",
        )


def resolve(source: str, path: str, project: Path) -> Any:
    """What ``"module:attribute"`` names.

    Args:
        source: The name; the attribute may be dotted, such as ``"digits.network:Net.small"``.
        path: Dotted path of the key that holds it.
        project: Directory of the project, whose lines messages show.

    Raises:
        SourceError: It cannot be imported, or is not there.
    """
    module_name, attribute = source.split(":")
    try:
        value: Any = importlib.import_module(module_name)
    except AotBuildError as error:
        line = user_line(error, project)
        error.where = located(path) + (f"\n{line}" if line else "")
        raise
    except (Exception, SystemExit) as error:
        line = user_line(error, project)
        missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(
            f"{error.name}."
        )
        raise SourceError(
            f'the module "{module_name}" cannot be imported',
            where=located(path),
            why=error_text(error) + (f"\nat {line}" if line and not missing else ""),
            fix="correct the module's name; it is looked for in the project's directory, src/, "
            "python/, tool.scikit-build.wheel.packages and the build environment"
            if missing
            else relative_path_fix(error)
            or "make the module importable in the build environment; "
            "what it imports belongs in build-system.requires",
        ) from error
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise SourceError(
                f'"{module_name}" has no attribute "{part}"',
                where=located(path),
                fix=did_you_mean(part, [n for n in dir(value) if not n.startswith("_")])
                or f'name something that "{module_name}" defines',
            ) from None
    return value


def load_op_libraries(libraries: Sequence[str], project: Path) -> None:
    """Load libraries of custom operators, as the runtime will.

    Raises:
        SourceError: One cannot be loaded.
    """
    for library in libraries:
        where = located("tool.aotbuild: op-libraries")
        try:
            if is_library_file(library):
                torch.ops.load_library(str(project / library))  # type: ignore[no-untyped-call]
            else:
                importlib.import_module(library)
        except (Exception, SystemExit) as error:
            line = user_line(error, project)
            raise SourceError(
                f'the library of operators "{library}" cannot be loaded',
                where=where,
                why=error_text(error) + (f"\nat {line}" if line else ""),
                fix="it must be importable in the build environment, or a shared library that "
                "fits the torch of the build",
            ) from error


def user_line(error: BaseException, project: Path) -> str:
    """The last line outside torch in the traceback of ``error``, the project's own preferred.

    Returns:
        Such as ``src/digits/network.py:31 in forward: x = x[mask]``, or an empty string.
    """
    hidden = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), "<")
    own = str(project.resolve())
    best = ""
    best_is_own = False
    for frame in traceback.extract_tb(error.__traceback__):
        name = frame.filename
        if name.startswith(hidden):
            continue
        is_own = name.startswith(own) and "-packages" not in name
        if best_is_own and not is_own:
            continue
        shown = os.path.relpath(name, own) if is_own else os.path.basename(name)  # noqa: PTH119
        best = f"{shown}:{frame.lineno} in {frame.name}: {frame.line}"
        best_is_own = is_own
    return best


def error_text(error: BaseException) -> str:
    """An exception as its own message shows it."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def relative_path_fix(error: BaseException) -> str:
    """The fix where a file was opened by a name that depends on the current directory, else ""."""
    if isinstance(error, FileNotFoundError) and not os.path.isabs(error.filename or os.sep):  # noqa: PTH117
        return (
            "steps run in the build directory: open a file of the project by its place beside the "
            'module, such as Path(__file__).with_name("sizes.json")'
        )
    return ""


class FileTracker:
    """Notes the files of a project that this process imports or opens."""

    def __init__(self, project: Path) -> None:
        self._root = f"{project.resolve()}{os.sep}"
        self._opened: set[str] = set()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            mode = arguments[1]
            if not isinstance(mode, str) or "r" in mode:
                self._opened.add(os.fsdecode(arguments[0]))

    def files(self) -> list[Path]:
        """The project's files read so far: sources of imported modules, data, weights."""
        modules = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
        names = {os.path.abspath(name) for name in (*modules, *self._opened) if name}  # noqa: PTH100
        others = {sys.prefix, sys.base_prefix, *(p for p in sys.path if "-packages" in p)}
        if os.getcwd().startswith(self._root):  # noqa: PTH109
            others.add(os.getcwd())  # noqa: PTH109  # the build may be in the project
        return sorted(
            Path(name)
            for name in names
            if name.startswith(self._root)
            and "__pycache__" not in name
            and not any(name.startswith(f"{outside}{os.sep}") for outside in others)
            and os.path.isfile(name)  # noqa: PTH113
        )
