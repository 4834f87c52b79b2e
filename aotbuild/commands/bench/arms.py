"""What runs a model beside its compiled one: eager torch, torch.compile, ONNX Runtime.

The module comes from the project that declares it, the inputs are those that the compiled model is
measured with, and the results of both are compared first.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from aotbuild.commands.bench import RUNTIMES
from aotbuild.commands.bench.worker import call_of, figures, imported
from aotbuild.config.project import load_declared
from aotbuild.config.resolve import is_program
from aotbuild.steps.export.source import build_module, method_of
from aotbuild.steps.plan.export import export_spec
from aotbuild.steps.project_code import importing, load_op_libraries


class LeftOutError(Exception):
    """A runtime cannot run the model; the text says why."""


def measured(spec: Mapping[str, Any], before: int) -> dict[str, Any]:
    """The figures of a model by a runtime.

    Args:
        spec: What is measured.
        before: Bytes of this process before anything was imported.

    Raises:
        LeftOutError: The runtime cannot run it.
    """
    package, model, manifest = imported(spec)
    if manifest.held:
        raise LeftOutError("it keeps a state between calls")
    if spec["threads"]:
        torch.set_num_threads(spec["threads"])
    expected = _tensors(call_of(package, manifest, model, spec)())
    begin = time.perf_counter()
    method = _method(Path(spec["project"]), spec["package"], spec["model"])
    make = dict(zip(RUNTIMES, (_eager, _compiled, _by_onnx), strict=True))[spec["arm"]]
    calls: list[Callable[[], Any]] = []

    def prepare(*args: Any, **kwargs: Any) -> None:
        calls.append(make(method, _as_tensors(args), _as_tensors(kwargs), spec["threads"]))

    call_of(package, manifest, prepare, spec)()
    (call,) = calls
    error = _error(_tensors(call()), expected)
    took = time.perf_counter() - begin
    found = figures(call, spec["seconds"], before)
    return {**found, "target": spec["arm"], "import": took, "error": error}


def _method(project: Path, package: str, name: str) -> Callable[..., Any]:
    """What runs the model in eager torch."""
    declared = load_declared(project)
    model, _, method = name.partition(".")
    if model not in declared.models:
        raise LeftOutError(f"{project} declares no model {model}: name its project by --project")
    own = export_spec(declared, model, "cpu", output="")
    _add_sources(package, own.import_paths)
    with importing(own.import_paths, own.package):
        load_op_libraries(own.declaration.op_libraries or [], declared.root)
        if is_program(own.declaration.source):
            return torch.export.load(declared.root / own.declaration.source).module()
        module = build_module(model, own.declaration, declared.root, torch.device("cpu"))
        if not method:
            return module
        return method_of(module, method, name)


def _add_sources(package: str, import_paths: Sequence[str]) -> None:
    """Let the packages around the models, which are of a wheel, have all modules of a project."""
    parents = package.split(".")[:-1]
    for count in range(1, len(parents) + 1):
        for path in import_paths:
            directory = Path(path, *parents[:count])
            if directory.is_dir():
                sys.modules[".".join(parents[:count])].__path__.append(str(directory))


def _eager(method: Any, args: Any, kwargs: Any, threads: int) -> Callable[[], Any]:
    del threads

    def call() -> Any:
        with torch.inference_mode():
            return method(*args, **kwargs)

    call()
    return call


def _compiled(method: Any, args: Any, kwargs: Any, threads: int) -> Callable[[], Any]:
    return _eager(torch.compile(method), args, kwargs, threads)


def _by_onnx(method: Any, args: Any, kwargs: Any, threads: int) -> Callable[[], Any]:
    if not isinstance(method, torch.nn.Module):
        raise LeftOutError("torch.onnx.export takes modules, not other methods")
    for name in ("onnxruntime", "onnxscript"):  # by the latter torch exports
        if importlib.util.find_spec(name) is None:
            raise LeftOutError(f"{name} is not installed")
    import onnxruntime

    with redirect_stdout(io.StringIO()):  # the exporter tells how far it is
        program = torch.onnx.export(method, args, kwargs=kwargs, dynamo=True)
    assert program is not None  # noqa: S101  # with dynamo
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = [tensor.numpy() for tensor in _tensors((args, kwargs))]
    names = [value.name for value in session.get_inputs()]
    if len(names) != len(values):
        raise LeftOutError("its exported program takes other inputs")
    given = dict(zip(names, values, strict=True))
    return lambda: session.run(None, given)


def _as_tensors(value: Any) -> Any:
    """The arrays of an argument or a result as tensors of the same memory."""

    def is_array(leaf: Any) -> bool:
        return hasattr(leaf, "__dlpack__") and not isinstance(leaf, torch.Tensor)

    return pytree.tree_map_only(is_array, torch.utils.dlpack.from_dlpack, value)


def _tensors(value: Any) -> list[torch.Tensor]:
    """The tensors of a result, in their order."""
    leaves = pytree.tree_leaves(_as_tensors(value))
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _error(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """The largest difference, by the largest value of what is compared."""
    if [t.shape for t in found] != [t.shape for t in expected]:
        raise LeftOutError("its results have other shapes than those of the compiled model")
    errors = [0.0]
    for one, other in zip(found, expected, strict=True):
        if not one.numel():
            continue
        wide = torch.complex128 if other.is_complex() else torch.float64
        if not torch.equal(one.isfinite(), other.isfinite()):
            raise LeftOutError("other results of it are infinite or NaN than of the compiled model")
        one, other = (t.to(wide)[t.isfinite()] for t in (one, other))  # noqa: PLW2901
        if one.numel():
            largest = max(other.abs().max().item(), torch.finfo(torch.float64).tiny)
            errors.append((one - other).abs().max().item() / largest)
    return max(errors)
