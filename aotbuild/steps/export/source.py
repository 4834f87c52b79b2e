"""From ``source`` to a module that is ready for inference."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from aotbuild.config.messages import did_you_mean, listed, located
from aotbuild.config.resolve import weights_file, weights_key
from aotbuild.config.schema import Model
from aotbuild.errors import AotBuildError, SourceError
from aotbuild.steps.export.finite_weights import check_finite
from aotbuild.steps.export.state_dict import load_weights
from aotbuild.steps.export.untrained import warn_untrained
from aotbuild.steps.project_code import (
    error_text,
    relative_path_fix,
    resolve,
    user_line,
)


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
        place = f"{path}.weights"
        load_weights(module, project / weights, weights, place, model.dtype, weights_key(model))
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

    Args:
        module: The module.
        method: Name of the method, such as ``forward``.
        path: Dotted path of the method's table.

    Raises:
        SourceError: The module has none of this name.
    """
    function = getattr(module, method, None)
    # A module without a forward() of its own has torch's, which only raises.
    absent = getattr(function, "__func__", None) is torch.nn.Module.forward
    if callable(function) and not isinstance(function, torch.nn.Module) and not absent:
        return cast("Callable[..., Any]", function)
    methods = [n for n in vars(type(module)) if not n.startswith("_")]
    name = "the function" if isinstance(module, _Function) else type(module).__name__
    raise SourceError(
        f'{name} has no method "{method}"',
        where=located(path),
        fix=did_you_mean(method, methods) or f"its own methods are: {listed(methods) or 'none'}",
    )


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
            fix=relative_path_fix(error)
            or "give the arguments it needs with args = [...] and kwargs = { ... }",
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
