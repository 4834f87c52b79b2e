"""The state that a call holds while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .checks import kind_of, shape_of
from .dims import Affine, Size
from .errors import StateError
from .lazy import is_numpy, is_tensor
from .manifest import Manifest
from .model_state import Layout, ModelState, kind_of_arrays
from .written_inputs import check_written


class Held:
    """A state that a call uses, and its buffers as the other arguments of the call are."""

    __slots__ = ("_failed", "release", "tensors")

    def __init__(self, state: ModelState | None, tensors: Sequence[Any]) -> None:
        # Parts of the state, which keeps this: it would not end by itself if this kept it too.
        self._failed = [] if state is None else state._failed
        self.tensors = tensors
        self.release: Callable[[], None] = _nothing if state is None else state._lock.release
        """Lets other calls use the state."""

    def fail(self) -> None:
        """Note that the compiled code has failed: it may have changed a part of the state."""
        self._failed.append(True)


def _nothing() -> None:
    """What there is to release of a state that is forgotten."""


class Holder:
    """Gives the calls of a method the states that they use.

    Args:
        manifest: The method.
        layout: What the states of its model have in common.
    """

    def __init__(self, manifest: Manifest, layout: Layout) -> None:
        self._manifest, self._layout = manifest, layout
        self._names = manifest.held
        given = manifest.inputs[: len(manifest.inputs) - len(self._names)]
        self._places = {
            Affine.of(size).dim: (i, axis, Affine.of(size))
            for i, spec in reversed(list(enumerate(given)))
            for axis, size in enumerate(spec.shape)
            if not isinstance(size, int)
        }
        self._counters = [
            (buffer, manifest.adds[buffer.name])
            for buffer in layout.buffers
            if manifest.adds.get(buffer.name)
        ]
        self._keys: dict[type[Any], Any] = {}
        """For types of a call's first argument that are known, a key for what is kept of a state:
        calls come here each time, and few words are few nanoseconds."""

    def hold(self, state: Any, *values: Any) -> Held:
        """The state of a call, which no other call uses until it is released.

        Args:
            state: What the caller passed: a state, a mapping of tensors by the names of buffers,
                or None for a new state that is forgotten afterwards.
            values: The other inputs of the call.

        Raises:
            StateError: It is of another model, in use, full, or left half changed.
            TypeError: It is no state.
        """
        if type(state) is not ModelState:
            return self._other(state, values)
        if state._layout is not self._layout:
            self._check_layout(state)
        if not state._lock.acquire(False):  # noqa: FBT003  # a keyword takes longer
            raise StateError(
                f"{self._manifest.name}(): another call is using this state. Give each thread a "
                "state of its own, or wait for the call"
            )
        held: Held | None = state._held.get(self._keys.get(type(values[0]))) if values else None
        if held is not None and not state._failed and not self._counters:
            return held
        try:
            if state._failed:
                self._refuse_failed()
            self.check_room(state, values)
            return held or self._held(state, values)
        except BaseException:
            state._lock.release()
            raise

    def _held(self, state: ModelState, values: Sequence[Any]) -> Held:
        """What a call holds of a state; it is kept, as the state is for one call at a time."""
        kind = kind_of_arrays(values)
        held = Held(state, state._views(kind, self._names))
        if values and (is_tensor(values[0]) or is_numpy(values[0])):
            key = self._keys.setdefault(type(values[0]), object())
            state._held[key] = held
        return held

    def _other(self, state: Any, values: Sequence[Any]) -> Held:
        name, model = self._manifest.name, self._layout.model
        if state is None:
            fresh = ModelState(self._layout, self.sizes(values))
            return Held(None, fresh._views(kind_of_arrays(values), self._names))
        if not isinstance(state, Mapping):
            sizes = ", ".join(f"{dim}=..." for dim in self._layout.dims)
            raise TypeError(
                f"{name}(): argument 'state' must be a state of {model}, got {kind_of(state)}. "
                f"Make one: {model}.new_state({sizes})"
            )
        if type(state).__name__ == ModelState.__name__:
            raise StateError(f"{self._mismatch(repr(state))} of another package")
        missing = [each for each in self._names if each not in state]
        unknown = [each for each in state if each not in self._names]
        if missing or unknown:
            what = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r} besides"
            raise TypeError(
                f"{name}(): argument 'state' {what}; it is a state of {model}, or a mapping with "
                + ", ".join(map(repr, self._names))
            )
        tensors = [state[each] for each in self._names]
        check_written(self._manifest, [*values, *tensors])
        return Held(None, tensors)

    def _mismatch(self, shown: str) -> str:
        return f"{self._manifest.name}(): argument 'state' is a {shown.strip('<>')}"

    def _check_layout(self, state: ModelState) -> None:
        own, other = self._layout, state._layout
        if other.version == own.version:
            return
        if other.model != own.model:
            raise StateError(
                f"{self._mismatch(repr(state))}, not of {own.model}. Make one: "
                f"{own.model}.new_state()"
            )
        raise StateError(
            f"{self._mismatch(repr(state))} in another version of the package. Begin with a new "
            "state"
        )

    def sizes(self, values: Sequence[Any]) -> dict[str, int]:
        """The sizes of a new state for a call; the smallest ones for one that will be refused.

        Args:
            values: The other inputs of the call.
        """
        sizes = {}
        for name, dim in self._layout.dims.items():
            size = self._size(name, values)
            sizes[name] = size if size is not None and size in dim else dim.min
        return sizes

    def _size(self, name: str, values: Sequence[Any]) -> int | None:
        """The size of a dimension in a call; None where it is not to be seen."""
        place = self._places.get(name)
        if place is None:
            return None
        i, axis, affine = place
        shape = shape_of(values[i])
        return None if shape is None or axis >= len(shape) else affine.solve(shape[axis])

    def _refuse_failed(self) -> NoReturn:
        raise StateError(
            f"{self._manifest.name}(): a call that failed has left this state half changed. "
            "Use state.reset(), or state.load() what was saved before"
        )

    def check_room(self, state: ModelState, values: Sequence[Any], steps: int = 1) -> None:
        """Make sure that a state has room for the entries that calls add.

        Args:
            state: The state.
            values: The other inputs of a call.
            steps: How many calls there are.

        Raises:
            StateError: It has not.
        """
        for counter, adds in self._counters:
            number = self._added(adds, values)
            if number is None:
                continue
            number *= steps
            used = state._count(counter)
            rooms = {name: state._places[name].shape[i] for name, i in counter.counts.items()}
            cache = min(rooms, key=rooms.__getitem__)
            if used + number > rooms[cache]:
                raise StateError(
                    f"{self._manifest.name}(): the state is full: {cache!r} has {used} of "
                    f"{rooms[cache]} entries, and this call adds {number}. Go back by "
                    f"state.truncate({counter.name!r}, length), or begin with a new state"
                )

    def _added(self, adds: Size, values: Sequence[Any]) -> int | None:
        """How many entries a call adds; None where its arguments do not tell."""
        if isinstance(adds, int):
            return adds
        affine = Affine.of(adds)
        size = self._size(affine.dim, values)
        return None if size is None else affine.at(size)
