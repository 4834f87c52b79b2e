"""What is assigned to a buffer of a state: a number, an array, or lists of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .buffers import Buffer, as_buffer
from .checks import check_number, kind_of, shape_of
from .engine_arrays import flat, packed, shape_of_numbers, view_of
from .lazy import has_numpy, is_numpy, is_tensor, np, torch
from .manifest import StateBuffer


class Target:
    """A buffer that values are written to.

    Args:
        label: How messages name it.
        dtype: What its elements are.
        shape: Its sizes.
        memory: Its bytes.
    """

    def __init__(self, label: str, dtype: str, shape: tuple[int, ...], memory: memoryview) -> None:
        self._label, self._dtype, self._shape, self._memory = label, dtype, shape, memory

    def assign(self, value: Any, library: Any) -> None:
        """Write a value to it.

        Args:
            value: A number for all elements, or an array, a buffer or nested lists. What the
                library of arrays converts and repeats may have another dtype or fewer elements.
            library: ``torch_arrays``, ``numpy_arrays`` or None.

        Raises:
            TypeError: It is no such value, or has another dtype. Nothing is written then.
            ValueError: It has another shape, or a number is out of the range of the dtype. Nothing
                is written then.
        """
        numbers: list[Any] = []
        shape = shape_of_numbers(value, numbers)
        if shape is not None:
            self._check_numbers(numbers)
        if shape in ((), self._shape):
            data = packed(self._dtype, numbers)
            self._memory[:] = data * (len(self._memory) // len(data)) if shape == () else data
        elif shape is not None:
            self._convert(value, library, unchecked=False)
        elif is_tensor(value):
            self._copy_tensor(value, library)
        elif not self._copy_buffer(value):
            self._convert(value, library, unchecked=True)

    def _check_numbers(self, numbers: Sequence[Any]) -> None:
        complex_ = self._dtype.startswith("complex")
        part = f"float{int(self._dtype.removeprefix('complex')) // 2}" if complex_ else self._dtype
        spec: Any = StateBuffer("", part, [])
        for number in numbers:
            if not isinstance(number, _takes(self._dtype)):
                raise TypeError(f"{self._label} has dtype {self._dtype}, got {number!r}")
            if self._dtype == "bool" and number not in {0, 1}:
                raise ValueError(f"{self._label} has dtype bool, got {number}")
            parts = (number.real, number.imag) if isinstance(number, complex) else (number,)
            for each in () if self._dtype == "bool" else parts:
                check_number(self._label, spec, each)

    def _copy_buffer(self, value: Any) -> bool:
        """Copy the elements of a buffer, if it is one of the same dtype and shape."""
        buffer = as_buffer(value)
        if buffer is None:
            return False
        view = view_of(buffer)
        if Buffer(buffer).dtype != self._dtype or view.shape != self._shape:
            return False
        self._memory[:] = flat(buffer)
        return True

    def _copy_tensor(self, value: Any, library: Any) -> None:
        target = library.over(self._memory, self._dtype, self._shape, 0, len(self._memory))
        if value.is_complex() and not target.is_complex():
            raise self._wrong_dtype(value)
        try:
            with torch.no_grad():
                target[...] = value
        except RuntimeError as error:
            raise self._wrong_shape(value) from error

    def _convert(self, value: Any, library: Any, *, unchecked: bool) -> None:
        """Let numpy, if it is there, convert and repeat what is not an array of this kind.

        Args:
            value: The value.
            library: The library of arrays that the user has.
            unchecked: Whether it may be more than numbers that the dtype holds.
        """
        array = target = None
        if library is not None and (is_numpy(value) or has_numpy()):
            from . import numpy_arrays

            try:
                place = self._memory, self._dtype, self._shape, 0, len(self._memory)
                target = numpy_arrays.over(*place)
                array = np.asarray(value, dtype=None if unchecked else target.dtype)
            except (ImportError, TypeError, ValueError):  # of a dtype that numpy has not
                array = None
        if array is None or target is None or array.dtype.kind not in "biufcV":
            raise self._refused(value)
        if not np.can_cast(array.dtype, target.dtype, "same_kind"):
            raise self._wrong_dtype(array)
        try:
            with np.errstate(over="raise"):
                converted = np.broadcast_to(array.astype(target.dtype), target.shape)
        except FloatingPointError:
            raise ValueError(
                f"{self._label} has dtype {self._dtype}, which does not hold all of these numbers"
            ) from None
        except ValueError:
            raise self._wrong_shape(array) from None
        target[...] = converted

    def _refused(self, value: Any) -> Exception:
        buffer = as_buffer(value)
        if buffer is not None:
            made: Any = Buffer(buffer)
            return self._wrong_shape(made) if made.dtype == self._dtype else self._wrong_dtype(made)
        shape = shape_of_numbers(value, []) or ()
        lists = isinstance(value, list | tuple)
        if lists and shape:
            return ValueError(f"{self._label} has shape {self._shape}, got lists of {shape}")
        got = "lists of other lengths or values" if lists else kind_of(value)
        return TypeError(
            f"{self._label} takes a number, or an array or lists of {self._dtype} with shape "
            f"{self._shape}, got {got}"
        )

    def _wrong_dtype(self, array: Any) -> TypeError:
        name = str(array.dtype).removeprefix("torch.")
        return TypeError(f"{self._label} has dtype {self._dtype}, got {name}")

    def _wrong_shape(self, array: Any) -> ValueError:
        return ValueError(f"{self._label} has shape {self._shape}, got {shape_of(array)}")


def _takes(dtype: str) -> tuple[type[Any], ...]:
    """The types of numbers that a dtype holds."""
    if dtype.startswith("complex"):
        return (complex, float, int)
    return (float, int) if dtype.startswith(("float", "bfloat")) else (int,)
