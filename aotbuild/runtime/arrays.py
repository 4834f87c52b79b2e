"""Calls with arrays: of numpy, of any library that exchanges them by DLPack, or plain buffers.

Their results are arrays of the same library; for buffers they are the engine's own. torch is not
imported for them, unless it is torch that runs the model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

from . import buffers, engine_arrays
from .arguments import check_given
from .array_library import dtype_of
from .checks import (
    check_conditions,
    check_number,
    check_shape,
    is_masked,
    kind_of,
    label_of,
    number_types,
)
from .lazy import is_numpy, is_tensor, torch
from .manifest import Input, Manifest
from .numpy_dtypes import dtype_named
from .tracing import traced

RunArrays: TypeAlias = "Callable[[list[Any]], list[Any] | None]"
"""Runs the model on numpy's arrays and DLPack's capsules, one for each input, and gives what has a
buffer and ``__dlpack__()``; None, and nothing is run, where they are not as the compiled code reads
them."""


class Array(Protocol):
    """An array of any library that exchanges them."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        """A capsule with the array."""


class NumpyArray(Protocol):
    """An array of numpy, by what no tensor of torch has."""

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Where its data is, and of what type."""


class Arrays:
    """Has the calls of a model with arrays.

    Args:
        manifest: The model.
        run: What runs it.
        checks: Whether that tells by itself if it can run on what it gets.
        standalone: Whether nothing else takes the values where torch is not imported.
    """

    def __init__(
        self, manifest: Manifest, run: RunArrays, *, checks: bool, standalone: bool = False
    ) -> None:
        self._manifest, self._run, self._standalone = manifest, run, standalone
        self._checks = checks and not manifest.conditions

    def __call__(self, *values: Any) -> list[Any] | None:
        """The outputs; None where no value is an array, or one is a tensor of torch with values.

        Raises:
            TypeError: A value is no array of the same library, or has another dtype.
            ValueError: A value has another shape, or is not on the CPU.
        """
        if any(map(is_tensor, values)):
            return traced(self._manifest, values)
        library = library_of(values)
        if library is None:
            if not self._standalone or "torch" in sys.modules:
                return None
            library = sys.modules.get("numpy", buffers)
        outputs = self._run([exported(value) for value in values]) if self._checks else None
        if outputs is None:
            arrays = _admit(self._manifest, values, library)
            outputs = self._run([exported(array) for array in arrays])
        if outputs is None:
            raise TypeError(f"{self._manifest.name}(): the compiled code cannot take these arrays")
        return _mapped(lambda output: imported(self._manifest, output, library), outputs)

    def of_tensors(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs for tensors that the compiled code reads, exchanged by capsules."""
        plain = [tensor.detach().resolve_conj().resolve_neg() for tensor in tensors]
        outputs = self._run([tensor.__dlpack__() for tensor in plain])
        if outputs is None:
            raise RuntimeError("the compiled code cannot take these tensors")
        return _mapped(torch.utils.dlpack.from_dlpack, outputs)


def through_torch(
    manifest: Manifest, run: Callable[[list[torch.Tensor]], list[torch.Tensor]], device: str
) -> Arrays:
    """Let torch have the calls of a model with arrays.

    Args:
        manifest: The model.
        run: What runs it on tensors.
        device: Where.
    """

    def run_arrays(arrays: list[Any]) -> list[Any]:
        outputs = run([as_tensor(array).to(device) for array in arrays])
        return _mapped(lambda output: output.detach().cpu(), outputs)

    return Arrays(manifest, run_arrays, checks=False)


def _mapped(convert: Callable[[Any], Any], outputs: list[Any]) -> list[Any]:
    """Outputs converted, of which those that are one object stay one."""
    converted = {id(output): convert(output) for output in outputs}
    return [converted[id(output)] for output in outputs]


def as_tensor(array: Any) -> torch.Tensor:
    """The tensor over the memory of an array, or over a copy of what may not be written to."""
    if not is_numpy(array):
        return torch.utils.dlpack.from_dlpack(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def library_of(values: Iterable[Any]) -> Any:
    """The module that the first array of some values is of; None where none is an array."""
    return next(filter(None, map(_library_of, values)), None)


def _library_of(value: Any) -> Any:
    """The module that an array is of; None for anything else."""
    if is_numpy(value):
        return sys.modules["numpy"]
    if is_tensor(value):
        return None
    if engine_arrays.is_array(value):
        return buffers
    if hasattr(type(value), "__dlpack__") and hasattr(
        library := namespace_of(value), "from_dlpack"
    ):
        return library
    return None if buffers.as_buffer(value) is None else buffers


def _an_array(library: Any) -> str:
    """An array of a library, as messages name it."""
    if library is buffers:
        return "an array of numpy, or of any type with the buffer protocol"
    return f"an array of {library.__name__}"


def namespace_of(array: Any) -> Any:
    """The array API's functions for an array; numpy before 2.0 has most of them."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    return sys.modules.get(type(array).__module__.partition(".")[0])


def _is_plain(value: Any) -> bool:
    """Whether an array of numpy is what its memory holds, which a masked one is not."""
    numpy: Any = sys.modules["numpy"]
    return type(value) in {numpy.ndarray, numpy.memmap}


def exported(value: Any) -> Any:
    """An array as the engine takes it; None for what it does not."""
    if is_numpy(value):
        if not _is_plain(value):
            return None
        return buffers.short_floats(value) if value.dtype.name == "bfloat16" else value
    if not hasattr(type(value), "__dlpack__"):
        return buffers.as_buffer(value)
    try:
        return buffers.capsule_of(value)
    except Exception:  # noqa: BLE001  # of any library, which _check_array() tells
        return None


def steps_of(manifest: Manifest, spec: Input, value: Any) -> Any:
    """A sequence of arrays for an input, of which each can be taken; what is no buffer as it is.

    Args:
        manifest: The model.
        spec: The input that each array is for.
        value: The sequence, with the arrays along its first axis.

    Raises:
        TypeError: It has another dtype.
    """
    if _library_of(value) is not buffers:
        return value
    array = buffers.Buffer(buffers.as_buffer(value))
    _check_array(label_of(manifest, spec), spec, array, value, buffers)
    return array.laid_out(list(range(len(array.shape))))


def imported(manifest: Manifest, output: Any, library: Any) -> Any:
    """An output as an array of a library; None where a shared call leaves out an input.

    Args:
        manifest: The model.
        output: What has a buffer and ``__dlpack__()``.
        library: A module, see ``library_of``.

    Raises:
        TypeError: The library cannot take it.
    """
    if output is None:
        return None
    if library is buffers:
        return output
    try:
        if library.__name__ != "numpy":
            return library.from_dlpack(output)
        if not is_tensor(output) and output.dtype == "bfloat16":
            return buffers.as_short_floats(output)
        return library.asarray(output if is_tensor(output) else memoryview(output))
    except (BufferError, TypeError, ModuleNotFoundError) as error:
        raise TypeError(
            f"{manifest.name}(): {library.__name__} cannot take a result ({error}). Call it with "
            "tensors of torch"
        ) from error


def _admit(manifest: Manifest, values: tuple[Any, ...], library: Any) -> list[Any]:
    """Arrays as the compiled code reads them, copies where they had to be."""
    check_given(manifest, values)
    pairs = list(zip(manifest.inputs, values, strict=True))
    first = next((spec for spec, value in pairs if _library_of(value)), None)
    arrays = []
    sizes: dict[str, tuple[int, str]] = {}
    for spec, value in pairs:
        label = label_of(manifest, spec)
        array = _of_number(label, spec, value, library)
        if _library_of(array) is not library:
            like = f", as {first.name!r} is" if first else ""
            raise TypeError(
                f"{label} must be {_an_array(library)}{like}, "
                f"got {kind_of(value)}. {_value_conversion(spec, value, library)}"
            )
        if library is buffers:
            array = buffers.Buffer(buffers.as_buffer(array))
        _check_array(label, spec, array, value, library)
        check_shape(label, spec, tuple(array.shape), manifest.dims, sizes)
        arrays.append(_laid_out(spec, array))
    check_conditions(manifest, {name: size for name, (size, _) in sizes.items()})
    return arrays


def _of_number(label: str, spec: Input, value: Any, library: Any) -> Any:
    """A number as the array without dimensions that it stands for; anything else as it is."""
    if type(value) in number_types(spec):
        check_number(label, spec, value)
        if library is buffers:
            return buffers.asarray(value, spec.dtype)
        return library.asarray(value, dtype=_dtype(label, spec, library))
    if is_numpy(value) and not hasattr(type(value), "__dlpack__"):
        return library.asarray(value)  # a number of numpy's own
    return value


def _dtype(label: str, spec: Input, library: Any) -> Any:
    """The dtype of an input as a library has it."""
    if library is not sys.modules.get("numpy"):
        return getattr(library, _NAMES.get(spec.dtype, spec.dtype))
    try:
        return dtype_named(spec.dtype)
    except ModuleNotFoundError as error:
        raise TypeError(f"{label} is a number, and {error}") from None


_NAMES = {"bool": "bool_"}
"""Dtypes whose names are others in some libraries."""


def _check_array(label: str, spec: Input, array: Any, given: Any, library: Any) -> None:
    if is_numpy(array) and not _is_plain(array):
        raise TypeError(
            f"{label} must be a plain array, got {kind_of(array)}. {_plain_array(spec, array)}"
        )
    dtype = dtype_of(array)
    if dtype != spec.dtype:
        if is_numpy(array):
            kind = array.dtype.kind
            dtype = "a structured one" if array.dtype.names else _WORDS.get(kind, dtype)
        raise TypeError(
            f"{label} must have dtype {spec.dtype}, got {dtype}. "
            f"{_array_conversion(spec, array, given, library)}"
        )
    if not isinstance(array, buffers.Buffer) and not is_numpy(array):
        _check_exchange(label, spec, array, library)


_CPU = 1


def _device_of(array: Any) -> int:
    """The kind of the device that an array is on; the CPU where its library does not tell."""
    try:
        device: int = array.__dlpack_device__()[0]
    except Exception:  # noqa: BLE001  # of any library; the exchange tells what is wrong
        return _CPU
    return device


def _check_exchange(label: str, spec: Input, array: Any, library: Any) -> None:
    """Refuse an array on another device, or one that its library does not give by DLPack."""
    if _device_of(array) != _CPU:
        raise ValueError(
            f"{label} is not on the CPU, where arrays of {library.__name__} are taken from. "
            "Move it there"
        )
    try:
        buffers.capsule_of(array)
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(". ")
        advice = _value_conversion(spec, array, library)
        if "Tracer" in type(array).__name__:  # of a function that JAX compiles or derives
            advice = "Call the model outside of what is traced, or by jax.pure_callback"
        raise TypeError(
            f"{label} cannot be read, {library.__name__} says: {reason}. {advice}"
        ) from error


_WORDS = {"U": "str", "S": "bytes"}
"""Kinds of numpy's dtypes whose names tell how long they are."""


def _plain_array(spec: Input, array: Any) -> str:
    """How a user makes a plain array of one of numpy's other classes."""
    if is_masked(array):  # numpy.asarray() would take what is masked for values
        return f"Give what is masked a value: {spec.name}.filled(0)"
    return f"Convert it: numpy.asarray({spec.name})"


def _array_conversion(spec: Input, array: Any, given: Any, library: Any) -> str:
    """How a user makes an array of the dtype that is expected of what was given."""
    if getattr(array.dtype, "kind", "") == "c" and not spec.dtype.startswith("complex"):
        return f"Take a real part of it: {_conversion(spec, library, f'{spec.name}.real')}"
    return _value_conversion(spec, given, library)


def _value_conversion(spec: Input, value: Any, library: Any) -> str:
    """How a user makes an array of a value; that there is no way where that fails."""
    if value is None:
        return "It is required"
    numpy: Any = sys.modules.get("numpy")
    if library is buffers and numpy is None:
        return buffers.conversion(spec.name, spec.dtype, len(spec.shape), value)
    if library in {numpy, buffers}:
        try:
            numpy.asarray(value, dtype=spec.dtype)
        except (TypeError, ValueError, OverflowError):  # such as words
            return "numpy makes no such array of it"
    return f"Convert it: {_conversion(spec, library)}"


def _conversion(spec: Input, library: Any, value: str = "") -> str:
    """What makes a value one that is expected, as the user would write it."""
    library = "numpy" if library is buffers else library.__name__
    return f'{library}.asarray({value or spec.name}, dtype="{spec.dtype}")'


def _laid_out(spec: Input, array: Any) -> Any:
    """An array in the order that the compiled code reads, in the byte order of this machine."""
    if isinstance(array, buffers.Buffer):
        return array.laid_out(spec.order)
    try:
        import numpy as np  # most libraries of arrays need it

        array = array if is_numpy(array) else np.from_dlpack(array)
    except (ImportError, BufferError, RuntimeError, TypeError):
        return array  # numpy lacks its dtype
    native = array.dtype.newbyteorder("=")
    order = spec.order
    inverse = [order.index(i) for i in range(len(order))]
    # permute() to the order in memory, make that contiguous, and permute back
    moved = array.transpose(order)
    copied = np.require(moved, native, ["C_CONTIGUOUS", "ALIGNED"])
    return copied.transpose(inverse)
