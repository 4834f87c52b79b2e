"""What computes with the tensors of a state dict: torch, or numpy where torch is not needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from .records import dataclass

if TYPE_CHECKING:
    from .manifest import Constant
    from .weights import WeightsFile


@dataclass(frozen=True, eq=False)
class Held:
    """Memory of a tensor's own, which an engine has been handed or will be."""

    array: Any
    """The memory as an array of the library."""
    handed: Any
    """The same memory, as engines take it."""


class ArrayLibrary(Protocol):
    """A module with what is done with the tensors of a state dict, by one library of arrays.

    Elements are compared, indexed and added by Python's operators, which all libraries have.
    """

    NOUN: str
    """What messages call an array of it."""

    def taken(self, value: Any) -> Any:
        """A value as an array of the library, which may share its memory; None where it is none."""

    def over(self, memory: Any, dtype: str, shape: Sequence[int], offset: int, size: int) -> Any:
        """The array of bytes that lie in a buffer without gaps.

        Args:
            memory: The buffer; the array keeps it alive.
            dtype: The name of its dtype.
            shape: Its sizes.
            offset: Where in the buffer it begins, in bytes.
            size: How many bytes it has.
        """

    def mapped(self, file: WeightsFile, constant: Constant) -> Any:
        """A constant over the mapped bytes of a file."""

    def placed(self, file: WeightsFile, constant: Constant, device: str) -> Any:
        """A constant of a file as the engine of a device takes it.

        Args:
            file: The mapped file.
            constant: The constant.
            device: Where the engine runs.
        """

    def held(self, constant: Constant, device: str) -> Held:
        """New memory for what takes the place of a constant, with the same layout."""

    def write(self, array: Any, index: tuple[slice, ...], value: Any) -> None:
        """Copy elements of one array into another one.

        Args:
            array: What they are written to.
            index: Which ones.
            value: What has them, of the same shape.
        """

    def on_cpu(self, array: Any) -> Any:
        """An array on the CPU, of which no gradients are recorded."""

    def copied(self, array: Any) -> Any:
        """A copy of an array on the CPU."""

    def cast(self, array: Any, dtype: str) -> Any:
        """An array with another dtype; it is the same array if it has that dtype."""

    def numbers(self, shape: Sequence[int]) -> Any:
        """The whole numbers from 1 on, in an array of this shape."""

    def zeros(self, shape: Sequence[int], dtype: str) -> Any:
        """An array of zeros."""

    def computing(self) -> AbstractContextManager[Any]:
        """In it, no gradients are recorded, and nothing warns of what is infinite or NaN.

        Raises:
            StateDictError: The library lacks a dtype.
        """

    def operator(self, name: str) -> Callable[..., Any]:
        """An operator of torch by a name such as ``aten.add.Tensor``.

        Raises:
            StateDictError: The library does not have it.
        """

    def word(self, text: str) -> Any:
        """A dtype, or another of the words that arguments of operators are, by its name."""


def dtype_of(array: Any) -> str:
    """The name of the dtype of an array of any library, such as ``float32``."""
    return getattr(array.dtype, "name", None) or str(array.dtype).rpartition(".")[2]


def is_whole(arrays: ArrayLibrary, value: Any, dtype: str) -> bool:
    """Whether an array holds whole numbers that a dtype of whole numbers has too.

    Args:
        arrays: The library of the array.
        value: The array.
        dtype: The name of the dtype.
    """
    own = dtype_of(value)
    if not dtype.startswith(_WHOLE) or not own.startswith((*_WHOLE, "float", "bfloat")):
        return False
    return bool((arrays.cast(arrays.cast(value, dtype), own) == value).all())


_WHOLE = ("int", "uint", "bool")
