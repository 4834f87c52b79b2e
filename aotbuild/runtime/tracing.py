"""Compiled models in what torch traces: ``torch.compile``, ``torch.export`` and fake tensors.

To a trace a model is one operator of torch, whose results have the shapes that the manifest tells.
Its name is made of the model's import path: ``aotbuild_models::digits_models_net``. Nothing is
imported for this before it is used: ``torch._dynamo``, which takes a second to import, is told of
the models when something else imports it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from .lazy import torch
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
    if not torch._C._len_torch_dispatch_stack():
        return None
    model = _by_manifest.get(id(manifest))
    if model is None:
        return None
    from .traced_operator import is_traced, traceable_call

    return list(traceable_call(model)(*values)) if is_traced(values) else None


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
        from .dynamo import make_traceable

        make_traceable(model)
