"""The native engine: checks and runs a library on the CPU, without holding the interpreter's lock.

It is an extension module in C beside this file, ``_engine``. Where that is missing or cannot be
loaded, and for the few models that it cannot run, torch's own runner takes its place, with the same
results and messages.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arrays import Arrays
from .dims import Affine, Size
from .engines import ALONE, ENGINES, Call, CallGate, Engine, Pool, not_loaded
from .errors import ModelLoadError
from .lazy import is_tensor, torch
from .machine import (
    DLPACK_DTYPES,
    engine_lacking,
    engine_module,
    torch_library,
    torch_version,
)
from .manifest import Constant, Manifest, Variant
from .signature import CallSignature

if TYPE_CHECKING:
    from .weights import WeightsFile

VARIABLE = "AOTBUILD_ENGINE"

_MOST_DIMS = 64


class NativeEngine(Engine):
    """A library on the CPU, through AOTInductor's C ABI; it need not have torch imported."""

    def __init__(self, library: Path, manifest: Manifest, pool: Pool, *, standalone: bool) -> None:
        self.standalone = standalone
        try:
            self._runner = engine_module().Engine(
                str(library), None if standalone else torch_library()
            )
        except (OSError, RuntimeError) as error:
            raise not_loaded(library, error) from error
        if pool != ALONE:
            self._runner.grow(pool.runners, pool.threads)
        self._runner.expect(_table(manifest))
        self._arrays = Arrays(manifest, self._runner.run_arrays, checks=True, standalone=standalone)
        self._runner.set_fallback(self._call_arrays)
        self.call: Call = (
            self._call_arrays
        )  # of conditions, which are Python expressions, C knows not
        if not manifest.conditions:
            self.call, self.direct = self._runner.call, self._runner
        # bfloat16 is a dtype of another package.
        self._takes_numpy = self.direct is not None and "bfloat16" not in _exchanged(manifest)
        self._attached = self._by_capsules = False
        self._attaching = threading.Lock()
        if "torch" in sys.modules:
            self._attach()
        CallGate.__init__(self, pool.runners)

    def _attach(self) -> None:
        """Let the engine take torch's tensors."""
        if self._attached:
            return
        with self._attaching:
            if not self._attached:
                self._attach_torch()
                self._attached = True

    def _attach_torch(self) -> None:
        exchange = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
        if exchange is None and self.standalone:  # an older torch
            self._by_capsules = True
            return
        modes = torch._C._len_torch_dispatch_stack
        # A stand-alone library has tensors of its own, over the memory of torch's.
        known = ((), (), ()) if self.standalone else (_samples(), _negated(), _conjugated())
        self._runner.attach(torch._C.__file__, exchange, torch.Tensor, modes, *known)

    def _call_arrays(self, *values: Any) -> list[Any] | None:
        """A call with anything but plain tensors of torch, or before torch is attached."""
        if self._takes_numpy and "numpy" in sys.modules:
            self._takes_numpy = False  # of several threads, all find the same
            _attach_numpy(self._runner)
        outputs = self._arrays(*values)
        if outputs is not None or self._attached or self.direct is None:
            return outputs
        self._attach()
        answer: list[Any] | None = self._runner.call(*values)
        return answer

    def run(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        self._attach()
        if self._by_capsules:
            return self._arrays.of_tensors(tensors)
        results: list[torch.Tensor] = self._runner.run(tensors)
        return results

    def expects(self, constants: Mapping[str, Constant]) -> bool:
        expected = {name: (dtype, size) for name, dtype, size in self._runner.constants()}
        return expected.keys() == constants.keys() and all(
            dtype == DLPACK_DTYPES[constants[name].dtype] and size >= constants[name].size
            for name, (dtype, size) in expected.items()
        )

    def set_constants(self, constants: dict[str, Any]) -> None:
        if any(map(is_tensor, constants.values())):  # and not arrays of the engine
            self._attach()
        handed = _capsule if self._by_capsules else _handed
        self._runner.set_constants({name: handed(value) for name, value in constants.items()})

    def map_constants(self, file: WeightsFile, constants: list[Constant], device: str) -> None:
        del device
        entries = [
            (
                *(
                    c.name,
                    DLPACK_DTYPES[c.dtype],
                    tuple(c.shape),
                    tuple(c.stride),
                    c.offset,
                    c.size,
                ),
                bytes.fromhex(c.packed),
            )
            for c in constants
        ]
        self._runner.map_constants(file.bytes, entries)

    def set_num_threads(self, count: int) -> None:
        if self.standalone:
            self._runner.use_threads(count)
        else:
            super().set_num_threads(count)

    def one_thread(self) -> None:
        self._runner.set_threads(1)

    def hold(self) -> None:
        self._runner.hold()

    def release(self) -> None:
        self._runner.release()

    def unlock(self) -> None:
        self._attaching = threading.Lock()
        self._runner.unlock()


def _attach_numpy(runner: Any) -> None:
    """Let the engine take numpy's arrays itself, if it knows this numpy."""
    numpy: Any = sys.modules["numpy"]
    try:
        core = sys.modules.get("numpy._core.multiarray") or sys.modules["numpy.core.multiarray"]
        runner.attach_numpy(core._ARRAY_API, numpy.zeros((2, 3), "int16")[:, ::2])
    except (AttributeError, KeyError, OSError, ValueError):
        return  # calls go through Python, with the same results


def _handed(value: Any) -> Any:
    """A constant as the library takes it: what oneDNN has packed is not exchanged by DLPack."""
    if not is_tensor(value) or not value.is_mkldnn:
        return value
    handle: Any = torch._C._aoti.unsafe_alloc_void_ptr_from_tensor  # which the library keeps
    return handle(value)


def _capsule(value: Any) -> Any:
    """A constant as the library takes it from a torch that does not exchange tensors in C."""
    return value.detach().__dlpack__() if is_tensor(value) else value


def open_engine(
    manifest: Manifest, variant: Variant, library: Path, device: str, pool: Pool
) -> Engine:
    """Open a library with the best engine for it, or on the CPU that of ``AOTBUILD_ENGINE``.

    Args:
        manifest: The model.
        variant: The variant that the library is of.
        library: The library.
        device: Where it runs.
        pool: How many calls run at once.

    Raises:
        ModelLoadError: It cannot be opened, or not with that engine.
    """
    choice = os.environ.get(VARIABLE)
    if variant.standalone and choice == "torch":
        raise ModelLoadError(
            f"{VARIABLE}={choice}: {manifest.name} was built to run without torch; unset it"
        )
    if variant.device == "cpu" and choice != "torch":
        reason = _unable(manifest, variant, library)
        if not reason:
            return NativeEngine(library, manifest, pool, standalone=variant.standalone)
        if variant.standalone:
            raise ModelLoadError(f"{manifest.name} cannot be run: {reason}")
        if choice:
            raise ModelLoadError(f"{VARIABLE}={choice}: {manifest.name} cannot use it: {reason}")
    return ENGINES[variant.device](library, device, pool)


def _unable(manifest: Manifest, variant: Variant, library: Path) -> str:
    """Why the native engine cannot run a library; empty where it can."""
    if library.with_suffix(".json").exists():
        return "it has operators that only torch's own runner finds"
    dtypes = _exchanged(manifest) | {constant.dtype for constant in variant.constants}
    if dtypes - DLPACK_DTYPES.keys():
        return f"it has tensors of dtype {min(dtypes - DLPACK_DTYPES.keys())}"
    if len(manifest.dims) > _MOST_DIMS:
        return f"it has more than {_MOST_DIMS} dynamic dimensions"
    if engine_module() is None:
        return engine_lacking()
    if variant.standalone:
        return ""
    # Whether an older torch does is only found out by importing it.
    supported = "torch" not in sys.modules and not torch_version().startswith(("2.11.", "2.12."))
    if not supported and not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        return f"torch {torch.__version__} does not exchange tensors in C"
    return ""


def _exchanged(manifest: Manifest) -> set[str]:
    """The dtypes of what a model takes and returns."""
    return {spec.dtype for spec in manifest.inputs} | _dtypes(manifest.outputs)


def _dtypes(outputs: Any) -> set[str]:
    """The dtypes in a tree of outputs."""
    if isinstance(outputs, list):
        return {dtype for item in outputs for dtype in _dtypes(item)}
    if not isinstance(outputs, dict):
        return set()
    dtypes = {outputs["dtype"]} if outputs.get("type") == "tensor" else set()
    return dtypes | {dtype for item in outputs.values() for dtype in _dtypes(item)}


def _samples() -> tuple[tuple[torch.Tensor, Any], ...]:
    """Tensors with new handles, which the engine releases."""
    handle = getattr(torch._C._aoti, "unsafe_alloc_void_ptr_from_tensor", None)
    tensors = [torch.empty(size) for size in range(3)]
    return tuple((tensor, handle(tensor)) for tensor in tensors) if handle else ()


def _negated() -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    tensors = [torch.empty(2), torch.empty(1, dtype=torch.bfloat16), torch.empty(0, 3)]
    return tuple((tensor, torch._neg_view(tensor)) for tensor in tensors)


def _conjugated() -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    tensors = [torch.empty(*sizes, dtype=torch.complex64) for sizes in [(2,), (1, 3), (0,)]]
    return tuple((tensor, tensor.conj()) for tensor in tensors)


def direct_class(cls: type[Any]) -> type[Any]:
    """A class whose usual calls do not go through Python, once ``bind`` has set its engine.

    Args:
        cls: A class of a model; its ``__call__`` gets all other calls.
    """
    if os.environ.get(VARIABLE) == "torch":
        return cls
    base = getattr(engine_module(), "Model", None)
    if base is None or issubclass(cls, base):
        return cls
    names = {
        "__doc__": cls.__doc__,
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__signature__": CallSignature(),
        "_checked": cls.__call__,
    }
    return type(cls.__name__, (base, cls), names)


def bind(model: Any, manifest: Manifest, engine: Any) -> None:
    """Let an engine have the usual calls of a model whose arguments and results are simple enough.

    Args:
        model: The model.
        manifest: Its manifest.
        engine: ``Loaded.direct``; with None, all calls go through Python again.
    """
    if not hasattr(model, "_bind"):
        return
    model._bind(*(_binding(manifest, engine) or (None, (), 0, None)))


def _binding(manifest: Manifest, engine: Any) -> tuple[Any, ...] | None:
    """The engine, the names of the parameters, how many may be positional, and the results."""
    parameters = manifest.in_spec["items"]
    kinds = [tree.get("kind", "") for tree in parameters]
    plain = [tree["type"] == "tensor" and tree["index"] == i for i, tree in enumerate(parameters)]
    if engine is None or not all(plain) or set(kinds) - {"", "keyword-only"} or manifest.changed:
        return None  # what a call writes to is checked by Python
    try:
        results = _results(manifest.outputs)
    except KeyError:
        return None
    return engine, tuple(manifest.in_spec["keys"]), kinds.count(""), results


_CONTAINERS = {"tuple": tuple, "list": list, "dict": dict}


def _results(tree: dict[str, Any]) -> Any:
    """How results nest, as ``build`` in model.c reads it.

    Raises:
        KeyError: There is more to them than tensors in tuples, lists and dicts.
    """
    if tree["type"] == "tensor" and "input" not in tree:
        return tree["index"]
    if tree["type"] == "constant" and tree["value"] is None:
        return None
    items = tuple(_results(item) for item in tree["items"])
    return (_CONTAINERS[tree["type"]], tuple(tree.get("keys", ())), items)


def _table(manifest: Manifest) -> bytes:
    """What the tensors of a usual call are; ``engine_expect`` in checks.c reads it."""
    dims = list(manifest.dims)
    words = [len(dims), len(manifest.inputs)]
    for dim in manifest.dims.values():
        words += [dim.min, -1 if dim.max is None else dim.max, dim.multiple_of]
    for spec in manifest.inputs:
        words += [*DLPACK_DTYPES[spec.dtype], len(spec.shape)]
        for size in spec.shape:
            words += _size(size, dims)
        words += spec.order
    return struct.pack(f"={len(words)}q", *words)


def _size(size: Size, dims: list[str]) -> tuple[int, int, int]:
    """Position of the dimension, factor and offset; -1, 1 and the size where it is static."""
    if isinstance(size, int):
        return (-1, 1, size)
    affine = Affine.of(size)
    return (dims.index(affine.dim), affine.factor, affine.offset)
