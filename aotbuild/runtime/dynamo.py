"""What Dynamo, torch's tracer, finds in the place of a model's call.

Imported only where Dynamo is.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from .machine import engine_module
from .traced_operator import traceable_call


def make_traceable(model: Any) -> None:
    """Let Dynamo trace the operator of a model in the place of its call."""
    model.__dict__.pop("__call__", None)  # Dynamo would take it for what runs the model
    kind: Any = type(model)
    shell: Any = None
    if model._manifest.held:
        # Locks and memory of a state are nothing for a tracer: the compiled function breaks there,
        # and what Python does to hold one is not compiled by itself either.
        _leave_to_python(kind)
    else:
        shell = object.__new__(_traceable_class(kind))
        shell.__dict__.update(model.__dict__)
        shell.__dict__["_call"] = traceable_call(model)
    model.__dict__["_traceable"] = shell
    base = getattr(engine_module(), "Model", None)
    if base is not None and isinstance(model, base):
        _substitute(base)
    else:
        call: Any = type(model).__call__
        call._torchdynamo_inline = _call_traceable


def _call_traceable(self: Any, /, *args: Any, **kwargs: Any) -> Any:
    if self._traceable is None:
        return _call_untraced(self, args, kwargs)
    return self._traceable(*args, **kwargs)


def _disabled(call: Any) -> Any:
    """A function that Dynamo leaves to Python, with all that it calls."""
    return importlib.import_module("torch.compiler").disable(call)


@_disabled
def _call_untraced(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return model(*args, **kwargs)


@functools.cache
def _leave_to_python(kind: Any) -> None:
    """Let Dynamo leave the calls of a class of models to Python."""
    name = "_checked" if hasattr(kind, "_checked") else "__call__"
    setattr(kind, name, _disabled(getattr(kind, name)))


def _substitute(base: Any) -> None:
    """Tell Dynamo, once, what the call of models in C stands for."""
    if base in _substituted:
        return
    _substituted.append(base)
    compiler = importlib.import_module("torch.compiler")
    substitute = compiler.substitute_in_graph(base.__call__, skip_signature_check=True)
    substitute(_call_traceable)


_substituted: list[Any] = []


@functools.cache
def _traceable_class(cls: Any) -> Any:
    """The class of a model whose calls go through Python."""
    base = getattr(engine_module(), "Model", None)
    plain = next(each for each in cls.__mro__ if base is None or not issubclass(each, base))
    # A function of its own, which Dynamo is told nothing of.
    call = plain.__call__
    copy = type(call)(
        call.__code__, call.__globals__, call.__name__, call.__defaults__, call.__closure__
    )
    copy.__kwdefaults__ = call.__kwdefaults__
    return type(plain.__name__, (plain,), {"__call__": copy, "__module__": plain.__module__})
