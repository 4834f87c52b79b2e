"""The state dict of a loaded model: read, replaced and merged into, while calls go on.

Until something is replaced, all tensors lie over the mapped weights file. A tensor that is replaced
gets memory of its own once, for all methods of the model, which later ones are copied into: the
library keeps whatever it is handed for good. While that is done no call runs, so that each sees
one state or the other.

The tensors are torch's, or numpy's arrays where a model needs no torch: ``array_library``.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from .array_library import ArrayLibrary, Held, dtype_of, is_whole
from .checkpoint import as_named, read_checkpoint
from .chosen_library import array_library
from .deltas import differences, finite, product
from .derived import Derivations, uses
from .engines import CallGate
from .errors import StateDictError
from .lazy import is_tensor, torch
from .manifest import Constant, Manifest, Parameter
from .records import dataclass
from .weights import WeightsFile, find_weights, open_weights

PREFETCH_VARIABLE = "AOTBUILD_PREFETCH"
_SHOWN = 8
_ASYNCHRONOUS = {"cuda", "xpu", "mps"}

StateDictOrPath: TypeAlias = "Mapping[str, Any] | str | os.PathLike[str]"
"""A state dict, or the file of one."""


class IncompatibleKeys(NamedTuple):
    """What a state dict and a model do not have in common."""

    missing_keys: list[str]
    unexpected_keys: list[str]


@dataclass(frozen=True, eq=False)
class _Served:
    """What runs the model, and what it takes."""

    engine: CallGate
    constants: list[Constant]
    device: str


class State:
    """What a model computes with, shared by its methods and devices.

    Args:
        package: Directory of the package.
        manifest: The model, or one of its methods; ``join`` adds others.
    """

    def __init__(self, package: Path, manifest: Manifest) -> None:
        self._model, self._weights = manifest.model, manifest.weights
        self._path = find_weights(package, manifest.weights, manifest.apart)
        self._parameters: dict[str, Parameter] = {}
        self._constants: dict[str, Constant] = {}
        self._folded: dict[str, str] = {}
        """By key, the target whose code has only what cannot be computed anew."""
        self._derived = Derivations()
        self._kept: dict[str, Constant] = {}
        """By key, what only the state dict has: code has what is computed from it."""
        self._served: list[_Served] = []
        self.layout: Any = None
        """What states of the model have in common that are held by callers, once there are any."""
        self._standalone = True
        self._arrays: ArrayLibrary
        """What computes, set by ``_computing``; the arrays in ``_own`` are its own."""
        self._own: dict[tuple[Any, ...], Held] = {}
        """By key, device and strides, what was replaced."""
        self.unlock()
        self.join(manifest)

    def join(self, manifest: Manifest) -> None:
        """Add what a method uses."""
        with self._lock:
            self._join(manifest)

    def _join(self, manifest: Manifest) -> None:
        self._parameters |= {parameter.name: parameter for parameter in manifest.state}
        keys = {parameter.key for parameter in manifest.state}
        stored = [c for variant in manifest.variants for c in variant.constants]
        stored += manifest.fallback.constants if manifest.fallback else []
        for constant in [*stored, *manifest.kept]:
            if constant.fqn in keys:
                self._constants.setdefault(constant.fqn, constant)
        self._kept |= {constant.fqn: constant for constant in manifest.kept}
        self._standalone &= manifest.standalone and manifest.fallback is None
        for variant in manifest.variants:
            self._folded |= dict.fromkeys(variant.folded, variant.target)
            for constant in variant.constants:
                recipe = variant.derived.get(constant.fqn)
                if recipe is not None and not self._derived.add(constant, recipe):
                    self._folded |= dict.fromkeys(uses(recipe), variant.target)

    def unlock(self) -> None:
        """Forget other threads, which a forked child does not have."""
        self._lock = threading.RLock()

    def serve(self, engine: CallGate, constants: list[Constant], device: str) -> None:
        """Hand constants to something that runs the model, now and whenever they change.

        Args:
            engine: What runs the model.
            constants: The constants that it takes.
            device: Where it runs.
        """
        with self._lock:
            if self._own:
                engine.set_constants({c.name: self._current(c, device) for c in constants})
            else:
                engine.map_constants(self.file(), constants, device)
            self._served.append(_Served(engine, constants, device))
        if os.environ.get(PREFETCH_VARIABLE) == "1":
            self.file().prefetch(constants)

    def prefetch(self) -> None:
        """Read the weights from the disk now."""
        with self._lock:
            constants = [c for served in self._served for c in served.constants]
        self.file().prefetch(constants)

    def read(self) -> dict[str, Any]:
        """The state dict: tensors that may be changed without changing the model.

        Raises:
            StateDictError: It is not in the package, or there is no library of arrays.
        """
        mapped = WeightsFile(self._path)
        state: dict[str, Any] = {}
        with self._computing() as arrays:
            self._refuse_folded(self._folded)
            needed = self._needed()
            for name, parameter in self._parameters.items():
                if parameter.key in state:
                    state[name] = state[parameter.key]
                elif parameter.key in needed:
                    replaced = self._replaced(parameter.key)
                    constant = self._constants.get(parameter.key)
                    if replaced is not None:
                        state[name] = arrays.copied(replaced)
                    elif constant is not None:
                        state[name] = arrays.mapped(mapped, constant)
                    else:
                        state[name] = self._recovered(parameter.key)
        return state

    def load(self, source: StateDictOrPath, *, strict: bool) -> IncompatibleKeys:
        """Replace tensors by those of a state dict.

        Raises:
            StateDictError: It does not fit; nothing is replaced then.
        """
        given, label = self._opened(source)
        state = as_named(given, self._parameters)
        with self._computing():
            found, values = self._compared(state, label, strict=strict)
            self._replace(values)
        return found

    def _compared(
        self, state: Mapping[str, Any], label: str, *, strict: bool
    ) -> tuple[IncompatibleKeys, dict[str, Any]]:
        """What a state dict and the model do not have in common, and values by their keys.

        Raises:
            StateDictError: It does not fit.
        """
        arrays = self._arrays
        values: dict[str, Any] = {}
        wrong: list[str] = []
        unexpected = [name for name in state if name not in self._parameters]
        for name, given in state.items():
            parameter = self._parameters.get(name)
            if parameter is None:
                continue
            value = arrays.taken(given)
            reason = _unfit(arrays, parameter, given, value)
            if reason:
                wrong.append(f"{name}: {reason}")
                continue
            expanded = self._constants.get(parameter.key)
            if expanded and not _holds(expanded, value):
                wrong.append(
                    f"{name}: its elements share memory in the model, found different values"
                )
                continue
            tied = values.setdefault(parameter.key, value)
            if tied is not value and not _equal(tied, value):
                wrong.append(f"{name}: is tied to {parameter.key}, found another value")
        needed = self._needed()
        missing = [
            name
            for name, parameter in self._parameters.items()
            if parameter.key in needed
            and parameter.key not in values
            # A tensor of several names may be given by any of them.
            and not any(line.startswith(f"{name}: ") for line in wrong)
        ]
        report = [_listed("wrong", wrong)] if wrong else []
        if strict:
            report += [_listed("missing", missing)] if missing else []
            report += [_listed("unexpected", unexpected)] if unexpected else []
        if report:
            raise StateDictError(f"{label} does not fit {self._model}:\n" + "\n".join(report))
        return IncompatibleKeys(missing, unexpected), values

    def merge(self, source: StateDictOrPath, scale: float) -> None:
        """Add differences to tensors.

        Raises:
            StateDictError: They do not fit; nothing is changed then.
            TypeError: The factor is no real number.
            ValueError: It is not finite.
        """
        scale = finite(scale)
        state, label = self._opened(source)
        with self._computing() as arrays:
            values: dict[str, Any] = {}
            wrong: list[str] = []
            needed = self._needed()
            for name, delta in differences(state, self._parameters, wrong):
                parameter = self._parameters[name]
                if parameter.key not in needed:
                    continue  # nothing that is compiled uses it
                self._refuse_folded([parameter.key])
                before = self._value(parameter.key)
                try:
                    change = product(delta, arrays) * scale
                except (RuntimeError, TypeError, ValueError) as error:
                    wrong.append(f"{name}: {error}")
                    continue
                if list(change.shape) != parameter.shape:
                    wrong.append(f"{name}: {_other_shape(change, parameter)}")
                elif not dtype_of(before).startswith(("float", "bfloat")):
                    wrong.append(
                        f"{name}: has dtype {parameter.dtype}, to which nothing can be added"
                    )
                else:
                    base = arrays.on_cpu(values.get(parameter.key, before))
                    summed = arrays.cast(base, dtype_of(change)) + change
                    values[parameter.key] = arrays.cast(summed, dtype_of(before))
            if wrong:
                raise StateDictError(
                    f"{label} cannot be merged into {self._model}:\n" + _listed("wrong", wrong)
                )
            self._replace(values)

    def _opened(self, source: StateDictOrPath) -> tuple[Mapping[str, Any], str]:
        """A state dict, and how messages name it.

        Raises:
            StateDictError: The file cannot be read, or a key is no name.
            TypeError: It is neither a state dict nor the path of a file.
        """
        state, label = source, "the given dict"
        if isinstance(source, str | os.PathLike):
            state, label = read_checkpoint(source, self._library), os.fspath(source)
        if not isinstance(state, Mapping):
            kind = type(state).__name__
            raise TypeError(f"expected a state dict or the path of a file, got {kind}")
        wrong = [
            f"{key!r}: is a key of type {type(key).__name__}, expected a name, a str"
            for key in state
            if not isinstance(key, str)
        ]
        if wrong:
            raise StateDictError(f"{label} does not fit {self._model}:\n" + _listed("wrong", wrong))
        return state, label

    def _library(self) -> ArrayLibrary:
        """What computes where that begins now.

        Raises:
            StateDictError: There is nothing.
        """
        return array_library(self._model, standalone=self._standalone)

    @contextlib.contextmanager
    def _computing(self) -> Iterator[ArrayLibrary]:
        """In it, one library computes, and no other thread reads or replaces tensors.

        Raises:
            StateDictError: There is none.
        """
        with self._lock:
            arrays = self._library()
            if self._own and self._arrays is not arrays:  # torch was imported in between
                self._own = {
                    place: Held(arrays.taken(held.array), held.handed)
                    for place, held in self._own.items()
                }
            self._arrays = arrays
            with arrays.computing():
                yield arrays

    def _needed(self) -> set[str]:
        """The keys of what the model computes with."""
        return {*self._constants, *self._folded, *self._derived.keys}

    def _value(self, key: str) -> Any:
        """What a parameter is now.

        Raises:
            StateDictError: Only what was computed from it is there.
        """
        replaced = self._replaced(key)
        if replaced is not None:
            return replaced
        if key in self._constants:
            return self._arrays.mapped(self.file(), self._constants[key])
        return self._recovered(key)

    def _recovered(self, key: str) -> Any:
        """A parameter, out of something in which its elements only have other places.

        Raises:
            StateDictError: There is nothing of that kind.
        """
        arrays = self._arrays

        def stored(constant: Constant) -> Any:
            replaced = self._replaced(constant.fqn)
            current = arrays.mapped(self.file(), constant) if replaced is None else replaced
            return arrays.on_cpu(current)

        shapes = {parameter.key: parameter.shape for parameter in self._parameters.values()}
        parameter = self._derived.recover(key, shapes, stored, arrays)
        if parameter is not None:
            return parameter
        raise StateDictError(
            f"{self._model}: the parameter {key} is not in the package, only what was computed "
            f"from it and others ({self._computed_of(key)}). Build the package with swappable = "
            f"true in [tool.aotbuild.models.{self._model}], which keeps every parameter; a whole "
            "state dict can be loaded without it"
        )

    def _computed_of(self, key: str) -> str:
        """The parameters that one was combined with, as messages list them."""
        others = sorted(self._derived.combined(key))
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        return ", ".join(others[:_SHOWN]) + more

    def file(self) -> WeightsFile:
        """The weights file, mapped."""
        return open_weights(self._path, self._weights)

    def _current(self, constant: Constant, device: str) -> Any:
        """What an engine takes for a constant."""
        arrays = self._arrays
        replaced = self._replaced(constant.fqn)
        if replaced is None:
            return arrays.placed(self.file(), constant, device)
        place = _place(constant, device)
        if place not in self._own:
            self._own[place] = _copy(arrays, replaced, constant, device)
        return self._own[place].handed

    def _replaced(self, key: str) -> Any:
        """What a tensor was replaced by, on any device."""
        return next((held.array for (other, *_), held in self._own.items() if other == key), None)

    def _refuse_folded(self, keys: Iterable[str]) -> None:
        folded = [key for key in keys if key in self._folded]
        if folded:
            raise StateDictError(
                f"{self._model}: the parameter {folded[0]} is not in the package: the code for "
                f"{self._folded[folded[0]]} only has what freezing computed from it. Build the "
                "package with swappable = true for this model, which keeps every parameter"
            )

    def _computed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What is computed from parameters, some of which get other values."""
        arrays = self._arrays

        def value(key: str) -> Any:
            return arrays.on_cpu(values[key] if key in values else self._value(key))

        return self._derived.anew(values.keys(), value, arrays)

    def _replace(self, values: Mapping[str, Any]) -> None:
        """Replace tensors, by key; they fit."""
        arrays = self._arrays
        self._refuse_folded(values)
        values = {**values, **self._computed(values)}
        created: dict[tuple[Any, ...], Held] = {
            place: _copy(arrays, values[key], constant, "cpu")
            for key, constant in self._kept.items()
            if key in values and (place := _place(constant, "cpu")) not in self._own
        }
        handed: list[tuple[CallGate, dict[str, Any]]] = []
        for served in self._served:
            new = {}
            for constant in served.constants:
                place = _place(constant, served.device)
                if constant.fqn in values and place not in self._own:
                    if place not in created:
                        value = values[constant.fqn]
                        created[place] = _copy(arrays, value, constant, served.device)
                    new[constant.name] = created[place].handed
            if new:
                handed.append((served.engine, new))
        in_place = [
            (place, held.array, values[place[0]])
            for place, held in self._own.items()
            if place[0] in values
        ]
        with contextlib.ExitStack() as stack:
            for served in self._served:
                served.engine.hold()
                stack.callback(served.engine.release)
            self._own |= created
            for engine, new in handed:
                engine.set_constants(new)
            for (*_, strides), array, value in in_place:
                arrays.write(array, _distinct(strides), value)
            if any(_kind(served.device) in _ASYNCHRONOUS for served in self._served):
                torch.accelerator.synchronize()  # the next call may be on another stream


_states: dict[tuple[Path, str], State] = {}


def state_of(package: Path, manifest: Manifest) -> State:
    """The state of the model of a manifest, shared by its methods."""
    state = _states.get((package, manifest.model))
    if state is None:
        state = _states.setdefault((package, manifest.model), State(package, manifest))
    state.join(manifest)
    return state


def _after_fork() -> None:
    for state in _states.values():
        state.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _unfit(arrays: ArrayLibrary, parameter: Parameter, given: Any, value: Any) -> str:
    """Why a value, taken as an array, cannot replace a parameter; empty where it can."""
    if value is None:
        return f"is a {type(given).__name__}, expected {arrays.NOUN}"
    if list(value.shape) != parameter.shape:
        return _other_shape(value, parameter)
    wanted, dtype = parameter.dtype, dtype_of(value)
    # A count, as of batches tracked, may have been saved with another dtype.
    if dtype != wanted and not is_whole(arrays, value, wanted):
        fix = f".to(torch.{wanted})" if is_tensor(given) else f'.astype("{wanted}")'
        return f"has dtype {dtype}, expected {wanted}; convert it: {fix}"
    return ""


def _holds(constant: Constant, value: Any) -> bool:
    """Whether the memory of a constant, in which elements may be one, can hold a value."""
    return 0 not in constant.stride or _equal(value[_distinct(constant.stride)], value)


def _equal(one: Any, other: Any) -> bool:
    """Whether arrays have equal elements; a dimension of one element may stand for more."""
    return bool((one == other).all())


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _place(constant: Constant, device: str) -> tuple[Any, ...]:
    return constant.fqn, device, tuple(constant.stride)


def _copy(arrays: ArrayLibrary, value: Any, constant: Constant, device: str) -> Held:
    """A copy of a value in memory of its own, laid out like a constant."""
    held = arrays.held(constant, device)
    arrays.write(held.array, _distinct(constant.stride), value)
    return held


def _distinct(strides: Iterable[int]) -> tuple[slice, ...]:
    """The index of elements that are one by one in memory."""
    return tuple(slice(0, 1 if stride == 0 else None) for stride in strides)


def _listed(label: str, lines: list[str]) -> str:
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join(f"  {label}: {line}" for line in lines[:_SHOWN]) + "".join(
        f"\n  {line}" for line in more
    )


def _other_shape(tensor: Any, parameter: Parameter) -> str:
    return f"has shape {tuple(tensor.shape)}, expected {tuple(parameter.shape)}"
