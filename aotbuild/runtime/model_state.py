"""The state of a model: what it keeps between calls, held by whoever calls it.

A call changes it in place, so a state has memory of its own: one block, in which the buffers lie
one behind the other. Calls with different states do not touch one another.
"""

from __future__ import annotations

import contextlib
import fnmatch
import importlib.util
import mmap
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from . import engine_arrays
from .digest import blake2b
from .dims import Affine, concrete
from .errors import StateError
from .lazy import is_numpy, is_tensor
from .machine import DLPACK_DTYPES
from .manifest import Manifest, StateBuffer
from .memory import address_of
from .state_assignment import Target
from .state_file import check_described, other_version, read_state, write_state
from .weights import WeightsFile

_ALIGNMENT = 64
"""Of each buffer in bytes: the width of a cache line, and of the widest vector register."""

_LARGE = 1 << 16
"""Bytes from which on memory comes from the system by itself, which clears it when it is used."""


class Layout:
    """What the states of a model have in common.

    Args:
        manifest: The model, or one of its methods that uses the state.
        weights: The file with what the buffers are at first.
        owner: Gives the model, by which states are pickled.
    """

    def __init__(self, manifest: Manifest, weights: WeightsFile, owner: Callable[[], Any]) -> None:
        self.model, self.owner = manifest.model, owner
        self.buffers = manifest.buffers
        self.weights = weights
        self.initial = manifest.initial
        named = {Affine.of(s).dim for b in self.buffers for s in b.shape if not isinstance(s, int)}
        self.dims = {name: dim for name, dim in manifest.dims.items() if name in named}
        parts = [[b.name, b.dtype, [str(s) for s in b.shape]] for b in self.buffers]
        described = repr([manifest.model, manifest.source, manifest.weights.sha256, parts])
        self.version = blake2b(described.encode(), digest_size=16).hexdigest()
        """Tells states apart that look different, or were computed with other weights."""

    def sizes(self, given: Mapping[str, Any], unnamed: Sequence[Any] = ()) -> dict[str, int]:
        """The sizes of a new state.

        Args:
            given: Them by the names of dimensions.
            unnamed: Those that were given without a name.

        Raises:
            TypeError: One is missing, unknown, unnamed or no integer.
            ValueError: One is out of the range of its dimension.
        """
        label = f"{self.model}.new_state()"
        if unnamed:
            rest = [name for name in self.dims if name not in given]
            named = ", ".join(f"{n}={v!r}" for n, v in zip(rest, unnamed, strict=False))
            takes = f"sizes by name only: {named}" if named else "no more sizes"
            raise TypeError(f"{label} takes {takes}")
        for name in given:
            if name not in self.dims:
                takes = ", ".join(self.dims) or "no sizes"
                raise TypeError(f"{label} has no argument {name!r}; it takes {takes}")
        sizes = {}
        for name, dim in self.dims.items():
            size = given.get(name)
            if size is None:
                raise TypeError(f"{label} is missing the size {name!r}: {name}={dim.min}, or {dim}")
            if type(size) is not int:
                raise TypeError(f"{label}: {name} must be an int, got {type(size).__name__}")
            if size not in dim:
                raise ValueError(f"{label}: {name} is {size}, the compiled model takes {dim}")
            sizes[name] = size
        return sizes


class _Placed:
    """A buffer in the memory of a state."""

    __slots__ = ("buffer", "offset", "shape", "size")

    def __init__(self, buffer: StateBuffer, shape: tuple[int, ...], offset: int) -> None:
        self.buffer, self.shape, self.offset = buffer, shape, offset
        _, bits = DLPACK_DTYPES[buffer.dtype]
        self.size = max(bits, 8) // 8
        for each in shape:
            self.size *= each


class ModelState(Mapping[str, Any]):
    """What a model keeps between calls; ``new_state()`` makes it, and calls change it.

    ``state["name"]`` is a buffer: a tensor of torch where torch has been imported, else an array of
    numpy, over the memory of the state. Writing to it changes the state. Use a state for one call
    at a time; copies and other states run beside it.
    """

    __slots__ = (
        *("_failed", "_held", "_layout", "_lock", "_memory", "_places", "_sizes", "_start"),
    )

    def __init__(self, layout: Layout, sizes: Mapping[str, int]) -> None:
        self._layout, self._sizes = layout, dict(sizes)
        self._places: dict[str, _Placed] = {}
        end = 0
        for buffer in layout.buffers:
            end += -end % _ALIGNMENT
            placed = _Placed(buffer, tuple(concrete(buffer.shape, sizes)), end)
            self._places[buffer.name] = placed
            end += placed.size
        self._memory, self._start = _new_memory(end)
        self._held: dict[Any, Any] = {}
        """What calls have held of it before, see ``holding``."""
        self._lock = threading.Lock()
        self._failed: list[bool] = []
        """Not empty where a call that failed has left it half changed."""
        self._set_initial()

    def _set_initial(self) -> None:
        for name, constant in self._layout.initial.items():
            placed = self._places[name]
            size = constant.size
            data = memoryview(self._layout.weights.bytes)[constant.offset : constant.offset + size]
            if size == placed.size:
                self._bytes(placed)[:] = data
            elif placed.size:
                _repeat(data, constant.shape, self._bytes(placed), placed.shape)

    def _bytes(self, placed: _Placed) -> memoryview:
        start = self._start + placed.offset
        return memoryview(self._memory)[start : start + placed.size]

    # ---- What users see ----

    def __getitem__(self, name: str) -> Any:
        placed = self._placed(name)
        library = _library()
        if library is None:
            return _engine_array(self, placed)
        start = self._start + placed.offset
        return library.over(self._memory, placed.buffer.dtype, placed.shape, start, placed.size)

    def __setitem__(self, name: str, value: Any) -> None:
        placed = self._placed(name)
        label = f'{self._layout.model}: state["{name}"]'
        target = Target(label, placed.buffer.dtype, placed.shape, self._bytes(placed))
        target.assign(value, _library())

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}: {p.buffer.dtype}[{', '.join(map(str, p.shape))}]"
            for name, p in self._places.items()
        )
        return f"<state of {self._layout.model}: {shown}>"

    @property
    def nbytes(self) -> int:
        """The bytes of all buffers."""
        return sum(placed.size for placed in self._places.values())

    def reset(self) -> None:
        """Let all buffers be what they are in a new state."""
        with self._alone("reset"):
            for placed in self._places.values():
                _clear(self._bytes(placed))
            self._set_initial()
            self._failed.clear()

    def __reduce__(self) -> tuple[Any, ...]:
        layout = self._layout
        with self._alone("pickled"):
            data = {name: bytes(self._bytes(placed)) for name, placed in self._places.items()}
        described = {name: (d, s) for name, (d, s, _) in self._described().items()}
        return _unpickled, (layout.owner(), layout.version, self._sizes, described, data)

    def copy(self) -> ModelState:
        """Another state with the same values."""
        made = ModelState(self._layout, self._sizes)
        with self._alone("copied"):
            for name, placed in self._places.items():
                made._bytes(made._places[name])[:] = self._bytes(placed)
            made._failed[:] = self._failed
        return made

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelState:
        return self.copy()

    def truncate(self, name: str, length: int) -> None:
        """Go back to the first entries of caches, as after so many steps.

        Args:
            name: The buffer that counts the entries, or one of the caches that it counts. With
                ``*`` it stands for all that it fits, such as ``length_*``.
            length: How many entries stay, at most those that there are. The others become what
                they are in a new state.

        Raises:
            KeyError: The state has no such buffer.
            ValueError: No buffer counts its entries, or there are not so many.
        """
        counters = self._counters(name)
        with self._alone("truncated"):
            for counter in counters:
                used = self._count(counter)
                if type(length) is not int or not 0 <= length <= used:
                    raise ValueError(
                        f"{self._layout.model}: {counter.name!r} has {used} entries, of which "
                        f"{length!r} cannot stay; pass 0 to {used}"
                    )
            new = ModelState(self._layout, self._sizes) if self._layout.initial else None
            for counter in counters:
                for cache, axis in counter.counts.items():
                    placed = self._places[cache]
                    first = new._bytes(placed) if new is not None else None
                    _clear_from(self._bytes(placed), placed.shape, axis, length, first)
                numbers = _numbers(self._bytes(self._places[counter.name]), counter.dtype)
                for i, number in enumerate(numbers):
                    numbers[i] = min(number, length)

    def _counters(self, name: str) -> list[StateBuffer]:
        """The buffers that count the entries of what a name stands for."""
        named = fnmatch.filter(self._places, name)
        if not named:
            self._placed(name)
        found: dict[str, StateBuffer] = {}
        for each in named:
            counters = [b for b in self._layout.buffers if each == b.name or each in b.counts]
            counter = next((buffer for buffer in counters if buffer.counts), None)
            if counter is None:
                declared = f'state.<counter>.counts = {{ "{each}" = <axis> }}'
                raise ValueError(
                    f"{self._layout.model}: no buffer counts the entries of {each!r}; declare it "
                    f"in pyproject.toml: {declared}"
                )
            found[counter.name] = counter
        return list(found.values())

    def save(self, path: Any) -> None:
        """Write all buffers to a safetensors file.

        Args:
            path: Of the file, which is replaced if it is there.

        Raises:
            RuntimeError: A call is using the state.
        """
        with self._alone("saved"):
            write_state(path, self._layout.model, self._layout.version, self._described())

    def load(self, path: Any) -> None:
        """Read all buffers from a file that ``save`` wrote.

        Args:
            path: Of the file.

        Raises:
            StateError: It is missing, damaged, of another model or version of the package, or of
                other sizes. Nothing is changed then.
        """
        layout = self._layout
        with self._alone("loaded"):
            found = read_state(path, layout.model, layout.version, self._described())
            for name, data in found.items():
                self._bytes(self._places[name])[:] = data
            self._failed.clear()

    def _described(self) -> dict[str, tuple[str, tuple[int, ...], memoryview]]:
        """Dtype, shape and bytes of each buffer."""
        return {
            name: (placed.buffer.dtype, placed.shape, self._bytes(placed))
            for name, placed in self._places.items()
        }

    def _placed(self, name: str) -> _Placed:
        placed = self._places.get(name)
        if placed is None:
            raise KeyError(
                f"the state of {self._layout.model} has no buffer {name!r}; it has "
                + ", ".join(map(repr, self._places))
            )
        return placed

    # ---- What calls need ----

    def _count(self, counter: StateBuffer) -> int:
        """How many entries are in use: of rows with different numbers, the most."""
        numbers = _numbers(self._bytes(self._places[counter.name]), counter.dtype)
        return max(map(int, numbers), default=0)

    def _alone(self, done: str) -> _Alone:
        return _Alone(self, done)

    def _views(self, kind: str, names: tuple[str, ...]) -> tuple[Any, ...]:
        """The buffers of a method as what its other arguments are.

        Args:
            kind: ``torch``, ``numpy``, or anything else for arrays of the engine.
            names: The names of the buffers.
        """
        return tuple(_view(self, self._places[name], kind) for name in names)


def _unpickled(
    model: Any,
    version: str,
    sizes: dict[str, int],
    described: dict[str, Any],
    data: dict[str, bytes],
) -> ModelState:
    """The state that was pickled.

    Raises:
        StateError: The model of this process is another version, with other weights or buffers.
    """
    layout: Layout = model._state_layout()
    if version != layout.version:
        raise StateError(other_version(layout.model, "this pickle"))
    try:
        state = ModelState(layout, layout.sizes(sizes))
    except (TypeError, ValueError) as error:
        raise StateError(f"this pickle holds no state of {layout.model}: {error}") from error
    check_described(layout.model, "this pickle", state._described(), described)
    for name, each in data.items():
        state._bytes(state._places[name])[:] = each
    return state


class _Alone:
    """Lets nothing else use a state."""

    def __init__(self, state: ModelState, done: str) -> None:
        self._state, self._done = state, done

    def __enter__(self) -> None:
        if not self._state._lock.acquire(blocking=False):
            model = self._state._layout.model
            raise StateError(f"{model}: the state cannot be {self._done} while a call uses it")

    def __exit__(self, *error: object) -> None:
        self._state._lock.release()


def _new_memory(size: int) -> tuple[Any, int]:
    """Memory of zeros, and where in it the first aligned byte is."""
    if size >= _LARGE:
        private = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
        return (mmap.mmap(-1, size, flags=private) if private else mmap.mmap(-1, size)), 0
    memory = bytearray(size + _ALIGNMENT)
    return memory, -address_of(memory) % _ALIGNMENT


def _clear(data: memoryview) -> None:
    data[:] = bytes(len(data))


def _clear_from(
    data: memoryview, shape: Sequence[int], axis: int, length: int, first: memoryview | None
) -> None:
    """Let the entries of an axis from ``length`` on be what they were at first.

    Args:
        data: The bytes of a buffer.
        shape: Its sizes.
        axis: The axis.
        length: How many entries stay.
        first: The bytes of a new one; None for zeros.
    """
    outer, inner = 1, len(data)
    for size in shape[:axis]:
        outer *= size
    if not outer * shape[axis]:
        return
    row = inner // outer
    kept = row // shape[axis] * length
    zeros = b"" if first is not None else bytes(row - kept)
    for i in range(outer):
        place = slice(i * row + kept, (i + 1) * row)
        data[place] = zeros if first is None else first[place]


def _repeat(
    data: memoryview, shape: Sequence[int], target: memoryview, sizes: Sequence[int]
) -> None:
    """Copy a value to a larger place, repeated along the axes where its size is 1."""
    if not shape:
        target[:] = data
        return
    row, wide = len(data) // shape[0], len(target) // sizes[0]
    for i in range(sizes[0]):
        part = data[:row] if shape[0] == 1 else data[i * row : (i + 1) * row]
        if i and shape[0] == 1:
            target[i * wide : (i + 1) * wide] = target[:wide]
        elif row == wide:
            target[i * wide : (i + 1) * wide] = part
        else:
            _repeat(part, shape[1:], target[i * wide : (i + 1) * wide], sizes[1:])


def _numbers(data: memoryview, dtype: str) -> Any:
    return data.cast(engine_arrays.FORMATS[dtype])  # type: ignore[call-overload]


def _library() -> Any:
    """What makes the arrays that users get; None where there is neither torch nor numpy."""
    if sys.modules.get("torch") is not None:
        from . import torch_arrays

        return torch_arrays
    if importlib.util.find_spec("numpy") is None:
        return None
    from . import numpy_arrays

    return numpy_arrays


def _view(state: ModelState, placed: _Placed, kind: str) -> Any:
    place = placed.buffer.dtype, placed.shape, state._start + placed.offset, placed.size
    if kind == "torch":
        from . import torch_arrays

        return torch_arrays.over(state._memory, *place)
    if kind == "numpy":
        from . import numpy_arrays

        with contextlib.suppress(ImportError):  # of a dtype that numpy has not, as bfloat16
            return numpy_arrays.over(state._memory, *place)
    return _engine_array(state, placed)


def _engine_array(state: ModelState, placed: _Placed) -> Any:
    start = state._start + placed.offset
    return engine_arrays.over(state._memory, placed.buffer.dtype, placed.shape, start)


def kind_of_arrays(values: Sequence[Any]) -> str:
    """Whose arrays a call is made with: ``torch``, ``numpy``, or empty for any others."""
    numbers = True
    for value in values:
        if is_tensor(value):
            return "torch"
        if is_numpy(value):
            return "numpy"
        numbers = numbers and isinstance(value, bool | int | float)
    if numbers:
        return "torch" if sys.modules.get("torch") is not None else "numpy"
    return ""
