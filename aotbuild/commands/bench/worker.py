"""One model at some sizes, measured: ``python worker.py SPEC``, where the package can be imported.

It runs where aotbuild need not be installed, and imports nothing but the package and what that
imports. SPEC and what it prints are JSON.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_LEAST = 10
"""Samples that are taken at least."""

_SAMPLE = 20e-6
"""Seconds that a sample takes at least; of shorter calls it has several."""


def main(text: str) -> None:
    """Measure, and print the figures."""
    spec = json.loads(text)
    before = resident()
    begin = time.perf_counter()
    package, model, manifest = imported(spec)
    took = time.perf_counter() - begin
    call = call_of(package, manifest, model, spec)
    print(  # noqa: T201
        json.dumps(
            {"target": model.target, "import": took, **figures(call, spec["seconds"], before)}
        )
    )


def imported(spec: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """The package of a model, the model, and its manifest."""
    package = importlib.import_module(spec["package"])
    model = package
    for name in spec["model"].split("."):
        model = getattr(model, name)
    return package, model, _manifest(package, spec["directory"])


def call_of(package: Any, manifest: Any, model: Any, spec: Mapping[str, Any]) -> Callable[[], Any]:
    """A call of a model, or of what takes the same arguments, by as many threads as are wanted.

    Args:
        package: The package of the model.
        manifest: Its manifest.
        model: What is called.
        spec: What is measured.

    Raises:
        RuntimeError: The package has another runtime than this version of aotbuild knows.
    """
    try:
        if spec["threads"]:
            package.set_num_threads(spec["threads"])
        return _prepared(package, manifest, model, spec["sizes"])
    except AttributeError as error:
        raise RuntimeError(
            f"the package has the runtime of another version of aotbuild, which this one cannot "
            f"measure ({error}): use the aotbuild that built it"
        ) from error


def figures(call: Callable[[], Any], seconds: float, before: int) -> dict[str, Any]:
    """What is measured of a call.

    Args:
        call: Makes one.
        seconds: How long.
        before: Bytes of this process before anything was imported.
    """
    begin = time.perf_counter()
    call()
    first = time.perf_counter() - begin
    samples = _samples(call, seconds)
    return {"first": first, "memory": max(0, resident() - before), "samples": samples}


def _manifest(package: Any, directory: str) -> Any:
    module = importlib.import_module(f"{package.__name__}._runtime.manifest")
    return module.Manifest.read(Path(package.__file__).parent / directory / "model.json")


def _prepared(
    package: Any, manifest: Any, model: Any, sizes: Mapping[str, int]
) -> Callable[[], Any]:
    """A call with the recorded values, repeated until they fill these sizes."""
    inputs = [_array(package, manifest, i, sizes) for i in range(len(manifest.inputs))]
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, tree in zip(manifest.in_spec["keys"], manifest.in_spec["items"], strict=True):
        kind = tree.get("kind", "")
        if kind == "state":
            continue
        value = _nested(tree, inputs)
        if kind == "var-positional":
            args += value
        elif kind == "var-keyword":
            kwargs |= value
        elif kind == "positional-only":
            args.append(value)
        else:
            kwargs[name] = value
    if manifest.held:
        state = model.new_state(**_of_state(manifest, sizes))
        kwargs["state"] = state

        def again() -> Any:
            state.reset()
            return model(*args, **kwargs)

        return again
    return lambda: model(*args, **kwargs)


def _of_state(manifest: Any, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes that a new state has to be told."""
    named = {
        getattr(size, "dim", size)
        for buffer in manifest.buffers
        for size in buffer.shape
        if not isinstance(size, int)
    }
    return {name: size for name, size in sizes.items() if name in named}


def _nested(tree: Mapping[str, Any], inputs: Sequence[Any]) -> Any:
    """An argument as the model takes it."""
    if tree["type"] == "tensor":
        return inputs[tree["index"]]
    if tree["type"] == "constant":
        return tree["value"]
    items = [_nested(item, inputs) for item in tree["items"]]
    if tree["type"] == "dict":
        return dict(zip(tree["keys"], items, strict=True))
    return tuple(items) if tree["type"] == "tuple" else items


def _array(package: Any, manifest: Any, index: int, sizes: Mapping[str, int]) -> Any:
    """An input of these sizes."""
    spec = manifest.inputs[index]
    dims = importlib.import_module(f"{package.__name__}._runtime.dims")
    machine = importlib.import_module(f"{package.__name__}._runtime.machine")
    shape = dims.concrete(spec.shape, sizes)
    dtype = machine.DLPACK_DTYPES[spec.dtype]
    size = math.prod(shape) * dtype[1] // 8
    memory = bytearray(size or 1)
    recorded = _recorded(package, manifest, index)
    if recorded and size:
        memory[:] = (recorded * (size // len(recorded) + 1))[:size]
    if manifest.variants[0].standalone:
        strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
        engine = machine.engine_module()
        return engine.view(memory, dtype, tuple(shape), tuple(strides), 0)
    import torch

    return torch.frombuffer(memory, dtype=getattr(torch, spec.dtype))[: math.prod(shape)].view(
        shape
    )


def _recorded(package: Any, manifest: Any, index: int) -> bytes:
    """The bytes of an input that the build recorded; none where it recorded nothing."""
    if manifest.selftest is None:
        return b""
    constant = manifest.selftest.inputs[index]
    path = Path(package.__file__).parent / manifest.selftest.file.file
    with path.open("rb") as file:
        file.seek(constant.offset)
        data: bytes = file.read(constant.size)
        return data


def _samples(call: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of a call, one figure for each sample."""
    begin = time.perf_counter()
    call()
    one = time.perf_counter() - begin
    inner = max(1, math.ceil(_SAMPLE / max(one, 1e-9)))
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < _LEAST or time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(inner):
            call()
        samples.append((time.perf_counter() - begin) / inner)
    return samples


def resident() -> int:
    """Bytes of this process's memory that are its own and present; 0 where that is not told."""
    try:
        text = Path("/proc/self/statm").read_text(encoding="ascii")
    except OSError:
        return 0
    import resource

    return int(text.split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main(sys.argv[1])
