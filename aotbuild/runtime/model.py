"""The callable that a package offers for each compiled model."""

from __future__ import annotations

import functools
import importlib
import os
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, Self, TypeVar

from .arguments import admit, check_device, failure, nest, refuse_arguments
from .arrays import through_torch
from .checks import refuse_condition
from .dims import Dim
from .engines import ENGINES, Call, Loaded, Pool, Run, pool_of, shown_pool
from .errors import ModelLoadError
from .integrity import check_files
from .lazy import has_torch, torch
from .loader import load, no_variant
from .manifest import Manifest
from .native_engine import bind, direct_class
from .not_a_module import refuse_attributes
from .parameters import Parameters
from .processes import note_use, remember
from .results import write
from .signature import tell_name, tell_signature
from .state_dict import State, state_of
from .tracing import prepare
from .variables import check_variables

if TYPE_CHECKING:
    from .batching import Batched
    from .holding import Held, Holder

_P = ParamSpec("_P")
_R = TypeVar("_R")

_DEVICE_VARIABLE = "AOTBUILD_DEVICE"
LAZY_VARIABLE = "AOTBUILD_LAZY"


class CompiledModel(Parameters):
    """A model compiled ahead of time; call it with tensors as the model's ``forward()``.

    The first tensor's device chooses the variant. Gradients are not recorded.

    Args:
        package: Directory of the package of compiled models.
        directory: Where in it ``model.json`` is.

    Raises:
        ModelLoadError: No variant can run on this machine with this torch.
    """

    _manifest: Manifest
    _origin: CompiledModel | None = None
    """The model that a pool is of."""

    def __new__(cls, package: Path, directory: str, pool: Pool | None = None) -> Self:
        """Check the files of a model before anything of them is used, and choose its class."""
        del pool
        check_variables()
        manifest = Manifest.read(package / directory / "model.json")
        if manifest.directory != directory:
            raise ModelLoadError(
                f"{package / directory / 'model.json'} is the manifest of {manifest.name}; "
                "install the package again"
            )
        check_files(package, manifest)
        # What Python itself says of a wrong call, such as an argument given twice, begins with it.
        getattr(cls, "_checked", cls.__call__).__qualname__ = manifest.name
        tell_name(cls, manifest.name)
        model: Self = object.__new__(direct_class(cls))
        model._manifest = manifest
        return model

    def __init__(self, package: Path, directory: str, pool: Pool | None = None) -> None:
        del directory
        self._package = package
        self._pool = pool or Pool(self._manifest.runners)
        self._lock = threading.Lock()
        self._state = state_of(package, self._manifest)
        self._runs = _Runs(self)
        self._targets: dict[str, str] = {}
        self._classes: dict[str, Any] = {}
        self._holder: Holder | None = None
        self.__name__ = self._manifest.name
        self._describe()
        self._call: Call = self._call_first
        self._run: Run = self._run_first
        self._fits: Callable[..., bool] | None = None
        self._scan: Callable[..., list[Any] | None] | None = None
        if os.environ.get(LAZY_VARIABLE) != "1":
            self._open()
        remember(self)
        prepare(self)

    def _names(self) -> tuple[str, str]:
        return self._manifest.name, self._manifest.name

    def _with_buffers(self) -> Manifest | None:
        return self._manifest if self._manifest.buffers else None

    def _hold_state(self, state: Any, *values: Any) -> Held:
        """The state of a call, which is released when it ends; called by the generated module."""
        holder = self._states_of_calls()
        self.__dict__["_hold_state"] = holder.hold  # without this step from now on
        return holder.hold(state, *values)

    def _states_of_calls(self) -> Holder:
        """What gives calls the states that they use; made when it is first asked for."""
        if self._holder is None:
            from .holding import Holder

            self._holder = Holder(self._manifest, self._state_layout())
        return self._holder

    def _check_written(self, *values: Any) -> None:
        """Make sure that a call can write to the inputs that it changes."""
        from .written_inputs import check_written

        check_written(self._manifest, values)

    def _describe(self) -> None:
        """Let ``help()`` show what the model is, rather than how the class of its type is made."""
        call = getattr(type(self), "_checked", type(self).__call__)
        if call.__doc__ is not None:
            self.__doc__ = call.__doc__
        if "_checked" in vars(type(self)):  # its __call__ is in C, and tells nothing
            self.__dict__["__call__"] = types.MethodType(call, self)

    def _open(self) -> None:
        """Load the model for the device that it is for where no tensor tells another."""
        device = self._default_device()
        self._run = self._runs[device]

    def _call_first(self, *values: Any) -> list[Any] | None:
        self._open()
        return self._call(*values)

    def _run_first(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        self._open()
        return self._run(tensors)

    def _serve(self, loaded: Loaded, device: str = "cpu") -> None:
        """Run the model by something else, behind the same checks."""
        self._run = loaded.run
        self._call = loaded.call or through_torch(self._manifest, loaded.run, device)
        bind(self, self._manifest, loaded.direct)

    def _hold(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Put what runs the model behind something else, as at the end of the interpreter."""
        for device, run in list(self._runs.items()):
            self._runs[device] = wrap(run)
        self._serve(Loaded(wrap(self._run), wrap(self._call)))

    def __init_subclass__(cls) -> None:
        tell_signature(cls)

    def __call__(self, *extra: Any, **unknown: Any) -> Any:
        """Run the model; the generated class of each model overrides this."""
        raise NotImplementedError

    def __repr__(self) -> str:
        inputs = ", ".join(
            f"{i.name}: {i.dtype}[{', '.join(map(str, i.shape))}]" for i in self._manifest.inputs
        )
        targets = ", ".join(v.target for v in self._manifest.variants) or "eager torch"
        pool = f", {shown_pool(self._pool)}" if self._origin else ""
        return f"<compiled model {self._manifest.name}({inputs}) for {targets}{pool}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._origin is None:
            return self._manifest.name  # pickled by its import path
        return _pool_again, (self._origin, self._pool)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        """What the model takes, by the names of parameters: ``{"image": float32[batch, 3]}``."""
        from .description import describe_inputs

        return describe_inputs(self._manifest)

    @functools.cached_property
    def outputs(self) -> Any:
        """What the model returns, nested as a result is: ``float32[batch, 10]``."""
        from .description import describe_outputs

        return describe_outputs(self._manifest)

    @functools.cached_property
    def dims(self) -> dict[str, Dim]:
        """The ranges of the dynamic dimensions, by name."""
        return dict(self._manifest.dims)

    def module(self) -> torch.nn.Module:
        """The model as a ``torch.nn.Module``, for what takes nothing else, as ``nn.Sequential``.

        Its ``state_dict()`` is that of the model. It has no parameters to train, and modes such as
        ``eval()`` have no effect.

        Raises:
            ModelLoadError: torch is not installed.
        """
        if not has_torch():
            raise ModelLoadError(
                f"{self._manifest.name}.module() makes a torch.nn.Module: torch is not installed"
            )
        from .as_module import CompiledModule

        return CompiledModule(self)

    def pool(self, runners: int, threads_per_call: int | None = None) -> Self:
        """The same model for several threads: so many of its calls run at once.

        Args:
            runners: How many, 1 to 64. Further calls wait for their turn. They share the weights.
            threads_per_call: Threads of each call on the CPU; those of the calling thread
                (``torch.set_num_threads``) when left out.

        Returns:
            A model that is called as this one, which stays as it is. Make it once: it stays loaded
            as long as the process.

        Raises:
            ValueError: One of the numbers is out of range.
        """
        pool = pool_of(self._manifest.name, runners, threads_per_call)
        return _as_pool(type(self)(self._package, self._manifest.directory, pool), self, pool)

    def batched(
        self: Callable[_P, _R],
        max_batch: int,
        max_wait_ms: float = 2.0,
        *,
        dim: str | None = None,
        max_queue: int = 1024,
    ) -> Batched[_P, _R]:
        """The same model for many small requests: those that come together share a call.

        No row of the batch may have an influence on the results of another.

        Args:
            max_batch: Largest size of the batch dimension in a shared call. A request may have any
                size that the model takes; it runs alone where it is larger.
            max_wait_ms: Milliseconds that a request waits for others, unless the batch is full
                before. The time in which other calls run counts.
            dim: Name of the batch dimension; the one that all inputs begin with when left out.
            max_queue: How many requests may wait. One more is refused with a ``QueueFullError``.

        Returns:
            What is called as this model, from any thread; ``await batched.acall(...)`` does the
            same in asyncio. Close it, or use it in a ``with`` statement.

        Raises:
            ValueError: A number is out of range, or the results of the model cannot be split.
        """
        from .batching import Batched

        return Batched(self, max_batch, max_wait_ms, dim, max_queue)

    def scan(
        self,
        *args: Any,
        state: Any = None,
        on_step: Callable[[Any], object] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run a sequence of steps in one call, each with the state that the one before left.

        Args:
            args: As in a call; each tensor has the steps along an axis before its own. An input
                that calls change in place has none: all steps change it.
            state: What the model keeps between the steps, as in a call.
            on_step: Called with the result of each step, as it is there; nothing is collected then.
            kwargs: As in a call.

        Returns:
            The result of a call with the steps along the first axis of each tensor; None with
            ``on_step``. Numbers are lists, and objects are dicts.

        Raises:
            StateError: The state is full before the last step, or as in a call.
            TypeError: An argument has no steps, or as in a call.
            ValueError: The numbers of steps differ, or as in a call.
        """
        if not self._manifest.changed and not self._manifest.held:
            raise TypeError(
                f"{self._manifest.name} keeps nothing between calls, so that its steps are no "
                "sequence. Call it with a batch"
            )
        from .scanning import scan

        self._first_device()
        return scan(self, args, kwargs, state, on_step)

    @property
    def device(self) -> torch.device:
        """The device that the model was loaded for first."""
        if not has_torch():  # a stand-alone model has none, and is on the CPU
            raise AttributeError(
                f"{self._manifest.name}.device is a torch.device, and torch is not installed"
            )
        return torch.device(self._first_device())

    def _first_device(self) -> str:
        if not self._runs:
            self._open()
        return next(iter(self._runs))

    @property
    def target(self) -> str:
        """What the code was compiled for that runs on ``device``, such as ``cpu-x86-64-v3``.

        It is ``uncompiled`` where eager torch runs the model.
        """
        return self._targets[self._first_device()]

    def _construct(self, path: str, fields: dict[str, Any]) -> Any:
        """An output of the class ``module:Name``; a dict where that cannot be imported."""
        if path not in self._classes:
            module, name = path.split(":")
            try:
                value: Any = importlib.import_module(module)
                for part in name.split("."):
                    value = getattr(value, part)
            except (ImportError, AttributeError):
                value = dict
            self._classes[path] = value
        return self._classes[path](**fields)

    def _nest(self, *values: Any) -> list[Any]:
        return nest(self._manifest, values)

    def _admit(self, *values: Any) -> list[torch.Tensor]:
        return admit(self._manifest, values, self.device)

    def _write(self, result: Any, out: Any) -> Any:
        return write(f"{self._manifest.name}(): out", result, out)

    def _holds(self, condition: str, **sizes: int) -> bool:
        from .conditions import holds

        return holds(condition, sizes)

    def _refuse(self, condition: str) -> NoReturn:
        raise refuse_condition(self._manifest, condition)

    def _failure(self, error: RuntimeError) -> Exception:
        return failure(self._manifest, error)

    def _refuse_arguments(self, extra: tuple[Any, ...], unknown: dict[str, Any]) -> NoReturn:
        raise refuse_arguments(self._manifest, extra, unknown)

    def _default_device(self) -> str:
        built = self._manifest.devices
        device = os.environ.get(_DEVICE_VARIABLE)
        if device:
            kind, _, index = device.partition(":")
            if kind not in built or (index and not index.isdecimal()):
                raise ModelLoadError(
                    f"{_DEVICE_VARIABLE}={device}: {self._manifest.name} was compiled for "
                    f"{', '.join(built)}; set it to one of these, or unset it"
                )
            return "cpu" if kind == "cpu" else _indexed(device)
        for kind, engine in ENGINES.items():
            if kind in built and engine.present():
                return _indexed(kind)
        raise no_variant(self._manifest, None)


class CompiledMethods(Parameters):
    """A model whose methods are compiled, and its ``forward()`` is not."""

    _model: str
    _methods: tuple[str, ...]
    _origin: CompiledMethods | None = None
    """The model that a pool is of."""

    def __init_subclass__(cls) -> None:
        tell_name(cls, cls._model)

    def __init__(self, package: Path, pool: Pool | None = None) -> None:
        """Load the methods; the generated class of each model overrides this."""

    def pool(self, runners: int, threads_per_call: int | None = None) -> Self:
        """The same model for several threads, see ``CompiledModel.pool``; each method has its own.

        Raises:
            ValueError: One of the numbers is out of range.
        """
        first: CompiledModel = getattr(self, self._methods[0])
        pool = pool_of(self._model, runners, threads_per_call)
        return _as_pool(type(self)(first._package, pool), self, pool)

    def _with_buffers(self) -> Manifest | None:
        methods = (getattr(self, name)._with_buffers() for name in self._methods)
        return next(filter(None, methods), None)

    def _names(self) -> tuple[str, str]:
        return self._model, f"{self._model}.{self._methods[0]}"

    if not TYPE_CHECKING:  # type checkers are to refuse the call themselves

        def __call__(self, /, *args: Any, **kwargs: Any) -> NoReturn:
            del args, kwargs
            raise TypeError(
                f"{self._model}() is not compiled; its methods are: "
                + ", ".join(f"{self._model}.{method}()" for method in self._methods)
            )

    def __repr__(self) -> str:
        methods = ", ".join(repr(getattr(self, method)) for method in self._methods)
        return f"<compiled methods of {self._model}: {methods}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._origin is None:
            return self._model  # pickled by its import path
        first: CompiledModel = getattr(self, self._methods[0])
        return _pool_again, (self._origin, first._pool)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @property
    def _state(self) -> State:  # type: ignore[override]
        first: CompiledModel = getattr(self, self._methods[0])
        return first._state

    @property
    def device(self) -> torch.device:
        """The device that the methods were loaded for first."""
        first: CompiledModel = getattr(self, self._methods[0])
        return first.device

    @property
    def target(self) -> str:
        """What the code of the methods was compiled for that runs on ``device``."""
        first: CompiledModel = getattr(self, self._methods[0])
        return first.target


refuse_attributes(CompiledModel)
refuse_attributes(CompiledMethods)

_Model = TypeVar("_Model")
_pools: dict[tuple[int, Pool], Any] = {}
"""The first pool of each kind, by the model; pools stay loaded anyway."""


def _as_pool(pooled: _Model, model: Any, pool: Pool) -> _Model:
    """Let a pool know the model that it is of, by which it is pickled."""
    origin = model._origin or model
    vars(pooled)["_origin"] = origin
    for name, method in vars(pooled).items():
        if isinstance(method, CompiledModel) and name != "_origin":
            vars(method)["_origin"] = getattr(origin, name)
    _pools.setdefault((id(origin), pool), pooled)
    return pooled


def _pool_again(model: Any, pool: Pool) -> Any:
    """The pool that was pickled, in this process."""
    found = _pools.get((id(model), pool))
    return model.pool(pool.runners, pool.threads or None) if found is None else found


class _Runs(dict[str, Run]):
    """The loaded variants by device; one that is missing is loaded when it is asked for."""

    def __init__(self, model: CompiledModel) -> None:
        super().__init__()
        self._model = model

    def __missing__(self, device: str) -> Run:
        check_device(self._model._manifest, device)
        with self._model._lock:
            if device not in self:
                model = self._model
                loaded = load(model._package, model._manifest, device, model._state, model._pool)
                model._fits = getattr(loaded.direct, "fits", model._fits)
                model._scan = getattr(loaded.direct, "scan", model._scan)
                self._model._targets[device] = loaded.target or "uncompiled"
                self[device] = self._first(device, loaded)
            return self[device]

    def _first(self, device: str, loaded: Loaded) -> Run:
        """What notes the first call, and gives way to what is loaded."""
        model = self._model

        def settle() -> None:
            note_use()
            self[device] = loaded.run
            if model._run is run:
                model._run = loaded.run
            if model._call is call:
                model._call = later
                bind(model, model._manifest, loaded.direct)

        def run(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
            settle()
            return loaded.run(tensors)

        def call(*values: Any) -> list[Any] | None:
            settle()
            return later(*values)

        later = loaded.call or through_torch(model._manifest, run, device)
        if loaded.call is not None or model._call == model._call_first:
            model._call = call
        return run


def _indexed(device: str) -> str:
    """The device as tensors on it name it: ``cuda`` becomes ``cuda:0``."""
    return "cpu" if device == "cpu" else str(torch.empty(0, device=device).device)
