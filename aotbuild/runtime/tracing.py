"""Compiled models in what torch traces: ``torch.compile``, ``torch.export`` and fake tensors.

To a trace a model is one operator of torch, whose results have the shapes that the manifest tells.
Its name is made of the model's import path: ``aotbuild_models::digits_models_net``. Nothing of
torch is imported for this before it is used: ``torch._dynamo``, which takes a second to import, is
told of the models when something else imports it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from .lazy import torch
from .machine import engine_module
from .manifest import Manifest

_TRACER = "torch._dynamo"

_models: weakref.WeakSet[Any] = weakref.WeakSet()
_by_manifest: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


def prepare(model: Any) -> None:
    """Let a model be called in what is traced, from now on or when torch's tracer is imported."""
    _by_manifest[id(model._manifest)] = model
    _models.add(model)
    if _tracer_ready():
        _prepare_for_tracer(model)
    elif _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)


def traced(manifest: Manifest, values: Sequence[Any]) -> list[Any] | None:
    """The outputs of a model in a trace.

    Args:
        manifest: The model.
        values: What it is called with, a value for each input.

    Returns:
        Tensors without values, one for each output; None where nothing is traced.
    """
    if not _is_traced(values):
        return None
    model = _by_manifest.get(id(manifest))
    if model is None:
        return None
    outputs: list[Any] = _traceable_call(model)(*values)
    return outputs


def _is_traced(values: Sequence[Any]) -> bool:
    """Whether a call is part of a trace: no tensor has values, or what is done is recorded.

    A mode that gives tensors no values has none with values beside them, and no part in those of
    another one.
    """
    if not torch._C._len_torch_dispatch_stack():
        return False
    from torch.utils import _python_dispatch

    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    modes = _python_dispatch._get_current_dispatch_mode_stack()
    tracing: list[Any] = [mode for mode in modes if getattr(mode, "_mode_key", None) is not None]
    for mode in tracing:
        if hasattr(mode, "allow_non_fake_inputs"):
            fakes = [tensor for tensor in tensors if isinstance(tensor, _kinds_of_fakes())]
            own = all(getattr(fake, "fake_mode", mode) is mode for fake in fakes)
            complete = len(fakes) == len(tensors) or mode.allow_non_fake_inputs
            return bool(fakes) and own and complete
    return bool(tracing)


def _kinds_of_fakes() -> tuple[type[Any], ...]:
    """The classes of tensors without values, of those that are imported."""
    classes = {
        "torch._subclasses.fake_tensor": "FakeTensor",
        "torch._subclasses.functional_tensor": "FunctionalTensor",
    }
    modules = {sys.modules.get(module): name for module, name in classes.items()}
    return tuple(getattr(module, name) for module, name in modules.items() if module)


class _Watch:
    """Among the finders of modules until torch's tracer is imported, which it tells of models."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        # Another package of compiled models has such a finder, too, which asks this one again.
        if name != _TRACER or getattr(_asking, "others", False):
            return None
        _asking.others = True
        try:
            others = [finder for finder in sys.meta_path if finder is not self]
            specs = (finder.find_spec(name, path, target) for finder in others)
            spec = next(filter(None, specs), None)
        finally:
            _asking.others = False
        loader: Any = spec and spec.loader
        if hasattr(loader, "exec_module"):
            execute = loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                with contextlib.suppress(ValueError):
                    sys.meta_path.remove(_watch)
                for model in list(_models):
                    _prepare_for_tracer(model)

            loader.exec_module = exec_module
        return spec


_watch: Any = _Watch()
_asking = threading.local()


def _tracer_ready() -> bool:
    """Whether torch's tracer has been imported to the end."""
    return hasattr(sys.modules.get(_TRACER), "optimize")


def _prepare_for_tracer(model: Any) -> None:
    """Let Dynamo trace into something else than the code that checks and runs a model.

    Where another torch does not allow that, a model breaks the graph, and all else goes on.
    """
    with contextlib.suppress(Exception):
        _replace_for_tracer(model)


def _replace_for_tracer(model: Any) -> None:
    model.__dict__.pop("__call__", None)  # Dynamo would take it for what runs the model
    kind: Any = type(model)
    shell = object.__new__(_traceable_class(kind))
    shell.__dict__.update(model.__dict__)
    shell.__dict__["_call"] = _traceable_call(model)
    model.__dict__["_traceable"] = shell
    base = getattr(engine_module(), "Model", None)
    if base is not None and isinstance(model, base):
        _substitute(base)
    else:
        call: Any = type(model).__call__
        call._torchdynamo_inline = _call_traceable


def _traceable_call(model: Any) -> Any:
    from .traced_operator import traceable_call  # which only traces need

    return traceable_call(model)


def _call_traceable(self: Any, /, *args: Any, **kwargs: Any) -> Any:
    return self._traceable(*args, **kwargs)


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
