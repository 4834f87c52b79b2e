"""From ``source`` to a module: importing the project's own code, and noting what that read."""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import inspect
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch

from aotbuild.config.parse import did_you_mean, listed, located
from aotbuild.config.resolve import is_library_file, weights_file
from aotbuild.config.schema import Model
from aotbuild.errors import AotBuildError, SourceError
from aotbuild.steps.export.state_dict import check_finite, load_weights
from aotbuild.steps.export.untrained import warn_untrained


def build_module(name: str, model: Model, project: Path, device: torch.device) -> torch.nn.Module:
    """The module that ``model`` declares, with its weights, ready for inference.

    A plain function becomes the ``forward`` of a module without parameters.

    Args:
        name: Name of the model.
        model: Its declaration.
        project: Directory of the project.
        device: Where the module shall be.

    Raises:
        SourceError: The source cannot be imported or makes no module.
        WeightsError: The weights cannot be read or do not fit.
    """
    path = f"tool.aotbuild.models.{name}"
    source = resolve(model.source, f"{path}.source", project)
    state = torch.get_rng_state()
    module: Any = _instantiate(source, model, path, project)
    drawn = not torch.equal(state, torch.get_rng_state())
    if drawn and inspect.isclass(source) and model.weights is None:
        again = functools.partial(source, *model.args, **model.kwargs)
        warn_untrained(module, again, model.source, path)
    # torch.compile's wrapper hides forward()'s parameters; what it wraps is compiled here anyway.
    if type(module).__name__ == "OptimizedModule":
        module = module._orig_mod
    if isinstance(module, torch.jit.ScriptModule):
        raise SourceError(
            f'"{model.source}" is a TorchScript module',
            where=located(f"{path}.source"),
            why="torch.export traces Python code, which a scripted or traced module no longer has",
            fix="name the nn.Module that it was made from",
        )
    weights = weights_file(model)
    if weights:
        load_weights(module, project / weights, weights, f"{path}.weights", model.dtype)
    dtype = getattr(torch, model.dtype) if model.dtype else None
    try:
        ready: torch.nn.Module = module.eval().requires_grad_(requires_grad=False).to(device, dtype)
        if model.check_finite is not False:
            origin, key = (weights, "weights") if weights else (model.source, "source")
            check_finite(ready.named_parameters(), ready.named_buffers(), origin, f"{path}.{key}")
    except AotBuildError:
        raise
    except Exception as error:
        line = user_line(error, project)
        raise SourceError(
            f'"{model.source}" cannot be made ready for inference',
            where=located(f"{path}.source") + (f"\n{line}" if line else ""),
            why=error_text(error).partition("\n")[0],
            fix="its __init__() has to call super().__init__(), and its parameters "
            "and buffers have to be dense, on the CPU and with values",
        ) from error
    return ready


def method_of(module: torch.nn.Module, method: str, path: str) -> Callable[..., Any]:
    """A method of a module.

    Raises:
        SourceError: The module has none of this name.
    """
    found = getattr(module, method, None)
    # A module without a forward() of its own has torch's, which only raises.
    absent = getattr(found, "__func__", None) is torch.nn.Module.forward
    if callable(found) and not isinstance(found, torch.nn.Module) and not absent:
        return cast("Callable[..., Any]", found)
    own = [n for n in vars(type(module)) if not n.startswith("_")]
    name = "the function" if isinstance(module, _Function) else type(module).__name__
    raise SourceError(
        f'{name} has no method "{method}"',
        where=located(path),
        fix=did_you_mean(method, own) or f"its own methods are: {listed(own) or 'none'}",
    )


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


def user_line(error: BaseException, project: Path) -> str:
    """The last line outside torch in the traceback of ``error``, the project's own preferred.

    Returns:
        Such as ``src/digits/network.py:31 in forward: x = x[mask]``, or an empty string.
    """
    hidden = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]), "<")
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


def resolve(source: str, path: str, project: Path) -> Any:
    """What ``"module:attribute"`` names.

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
            else _BESIDE_MODULE
            if _is_relative_file(error)
            else "make the module importable in the build environment; "
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


def _instantiate(source: Any, model: Model, path: str, project: Path) -> torch.nn.Module:
    if isinstance(source, torch.nn.Module):
        if model.args or model.kwargs:
            raise SourceError(
                f'"{model.source}" is an instance and takes no arguments',
                where=located(f"{path}.{'args' if model.args else 'kwargs'}"),
                fix="remove args and kwargs, or name the class instead",
            )
        return source
    if not callable(source):
        raise _no_module(source, model.source, path)
    if _takes_the_inputs(source, model):
        return _Function(source)
    try:
        module = source(*model.args, **model.kwargs)
    except AotBuildError:
        raise
    except (Exception, SystemExit) as error:
        line = user_line(error, project)
        raise SourceError(
            f'calling "{model.source}" failed',
            where=located(path),
            why=error_text(error) + (f"\nat {line}" if line else ""),
            fix=_BESIDE_MODULE
            if _is_relative_file(error)
            else "give the arguments it needs with args = [...] and kwargs = { ... }",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise _no_module(module, model.source, path, called=True)
    return module


def _takes_the_inputs(source: Any, model: Model) -> bool:
    """Whether a source is a plain function of tensors, and not a factory of modules.

    Its parameters are the declared inputs then, or it cannot be called without any.
    """
    if inspect.isclass(source):
        return False
    try:
        signature = inspect.signature(source)
    except (TypeError, ValueError):  # some built-in functions tell none
        return False
    if model.inputs and set(model.inputs) <= set(signature.parameters):
        return True
    try:
        signature.bind(*model.args, **model.kwargs)
    except TypeError:
        return not model.args and not model.kwargs
    return False


class _Function(torch.nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.forward = function


_BESIDE_MODULE = (
    "steps run in the build directory: open a file of the project by its place beside the module, "
    'such as Path(__file__).with_name("sizes.json")'
)


def _is_relative_file(error: BaseException) -> bool:
    """Whether a file was opened by a name that depends on the current directory."""
    return isinstance(error, FileNotFoundError) and not os.path.isabs(error.filename or os.sep)  # noqa: PTH117


def _no_module(value: Any, source: str, path: str, *, called: bool = False) -> SourceError:
    kind = type(value)
    made = "returned" if called else "is"
    return SourceError(
        f'"{source}" {made} no torch.nn.Module',
        where=located(f"{path}.source"),
        why=f"it {made} {kind.__module__}.{kind.__qualname__}",
        fix="name an nn.Module class, a function that returns a module, a module, or a function "
        "of tensors whose parameters are the inputs",
    )


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
