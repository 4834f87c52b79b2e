"""Engines: how a compiled library is loaded and run on each type of device.

All that is specific to AOTInductor's runners is here: loading, constants, running. An engine lives
as long as the process, because torch's runners leak their handles when they are destroyed.

On the CPU, ``native_engine.py`` has another engine, which takes the runner's place where it can.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import ModelLoadError
from .lazy import torch
from .machine import engine_module
from .manifest import Constant
from .records import dataclass

if TYPE_CHECKING:
    from .weights import WeightsFile

Run: TypeAlias = "Callable[[list[torch.Tensor]], list[torch.Tensor]]"
"""Runs the model on tensors that are as the compiled code reads them."""

Call: TypeAlias = "Callable[..., list[Any] | None]"
"""Runs the model on the values of its inputs if they are as the compiled code reads them; else
answers None and does nothing, also where the engine cannot tell. Calls with arrays it handles all
by itself."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """What runs a model on one device."""

    run: Run
    call: Call | None = None
    direct: Any = None
    """What a model's class in C can call by itself, see ``native_engine.bind``."""
    target: str = ""
    """What it was compiled for; empty where it was not compiled."""
    one_thread: Callable[[], None] | None = None
    """Lets calls of this thread use no other one."""


def not_loaded(library: Path, error: Exception) -> ModelLoadError:
    """The error where a library cannot be opened."""
    reason = str(error).strip().splitlines()[0]
    if "failed to map segment" in reason:
        reason += "; its file system may be mounted noexec: install the package elsewhere"
    return ModelLoadError(f"{library}: cannot be loaded: {reason}")


@dataclass(frozen=True)
class Pool:
    """How many calls run at once, and with how many threads each."""

    runners: int = 1
    threads: int = 0
    """0 leaves those of the thread that calls."""


MOST_RUNNERS = 64
ALONE = Pool()
"""One call at a time."""


def pool_of(name: str, runners: int, threads: int | None) -> Pool:
    """The pool of ``<model>.pool(runners, threads_per_call)``.

    Args:
        name: Name of the model, for messages.
        runners: How many calls run at once, 1 to 64.
        threads: Threads of each call, 1 to 64; None leaves those of the thread that calls.

    Raises:
        ValueError: One of the numbers is out of range.
    """
    for label, number in (("runners", runners), ("threads_per_call", threads)):
        if number is None and label == "threads_per_call":
            continue
        if type(number) is not int or not 1 <= number <= MOST_RUNNERS:
            expected = f"{'' if type(number) is int else 'an integer, '}1 to {MOST_RUNNERS}"
            raise ValueError(f"{name}.pool(): {label} is {number!r}, expected {expected}")
    return Pool(runners, threads or 0)


def shown_pool(pool: Pool) -> str:
    """A pool, as the representation of a model shows it."""
    each = f" with {pool.threads} thread{'s' * (pool.threads > 1)} each" if pool.threads else ""
    return f"a pool of {pool.runners}{each}"


class CallGate:
    """What runs a model. It admits as many calls at once as it has runners, and none while held."""

    def __init__(self, runners: int = 1) -> None:
        self._runners = runners
        self._lock = self._new_lock()
        _engines.append(self)
        if self._threads:
            self.set_num_threads(self._threads)

    _threads = 0
    """What was asked for with ``use_threads``."""

    @staticmethod
    def use_threads(count: int) -> None:
        """Let the calls of all engines use so many threads, also of those that come."""
        CallGate._threads = count
        for engine in _engines:
            engine.set_num_threads(count)

    def set_num_threads(self, count: int) -> None:
        """Let calls use so many threads."""
        torch.set_num_threads(count)

    def hold(self) -> None:
        """Wait for the calls that run, and let others wait, so that the constants can change."""
        for _ in range(self._runners):
            self._lock.acquire()

    def release(self) -> None:
        """Let calls go on."""
        for _ in range(self._runners):
            self._lock.release()

    def unlock(self) -> None:
        """Forget calls of other threads, which a forked child does not have."""
        self._lock = self._new_lock()

    def _new_lock(self) -> Any:
        # A lock is a tenth of the work of a semaphore.
        return threading.Lock() if self._runners == 1 else threading.Semaphore(self._runners)

    standalone = False
    """Whether it runs without torch: its threads are its own, and a forked child has them, too."""

    def one_thread(self) -> None:
        """Let calls of this thread use no other one."""

    def set_constants(self, constants: dict[str, Any]) -> None:
        """Hand over constants, by name; they are used in place, without a copy.

        Args:
            constants: Tensors of torch; the native engine takes its own arrays, too.
        """
        raise NotImplementedError

    def map_constants(self, file: WeightsFile, constants: list[Constant], device: str) -> None:
        """Hand over constants that lie in a weights file.

        Args:
            file: The mapped file.
            constants: The constants of the library.
            device: Where the library runs.
        """
        self.set_constants({c.name: file.on(device, c) for c in constants})

    def _gated(self, run: Run) -> Run:
        def gated(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
            with self._lock:
                return run(tensors)

        return gated


_engines: list[CallGate] = []


class Engine(CallGate):
    """A loaded library on one device."""

    runner = ""
    """Name of the class in ``torch._C._aoti``."""
    numbered = True
    """Whether a machine can have several such devices, and the runner takes which one."""
    call: Call | None = None
    direct: Any = None

    def __init__(self, library: Path, device: str, pool: Pool) -> None:
        where = (device,) if self.numbered else ()
        try:
            runner: Any = getattr(torch._C._aoti, self.runner)
            self._runner = runner(str(library), pool.runners, *where)
        except (RuntimeError, AttributeError) as error:
            raise not_loaded(library, error) from error
        super().__init__(pool.runners)
        self._constants: dict[str, torch.Tensor] = {}
        self.run = self._gated(self._run)  # type: ignore[assignment, method-assign]

    def run(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        """Run the model on tensors that are as the compiled code reads them."""
        raise NotImplementedError

    def _run(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        # An input by another name, such as input.detach(), does not require gradients.
        outputs: list[torch.Tensor] = self._runner.run(tensors)
        return [o.detach() if any(o is t for t in tensors) else o for o in outputs]

    @staticmethod
    def present() -> bool:
        """Whether this machine and this torch have such a device."""
        raise NotImplementedError

    @staticmethod
    def missing(requires: list[str]) -> list[str]:
        """Those of the required features that the device lacks."""
        del requires
        return []

    def expects(self, constants: Mapping[str, Constant]) -> bool:
        """Whether the constants are those that the library expects: another one would crash it."""
        return set(self._runner.get_constant_names_to_original_fqns()) == set(constants)

    def set_constants(self, constants: dict[str, torch.Tensor]) -> None:
        self._constants |= constants  # the library holds no reference of its own
        self._runner.update_constant_buffer(constants, False, False, True)  # noqa: FBT003


class CpuEngine(Engine):
    """The CPU."""

    runner = "AOTIModelContainerRunnerCpu"
    numbered = False

    @staticmethod
    def present() -> bool:
        return True

    @staticmethod
    def missing(requires: list[str]) -> list[str]:
        has = cpu_features()
        return [feature for feature in requires if not has.get(feature)]


class CudaEngine(Engine):
    """An NVIDIA or AMD GPU."""

    runner = "AOTIModelContainerRunnerCuda"

    @staticmethod
    def present() -> bool:
        return torch.cuda.is_available()


class XpuEngine(Engine):
    """An Intel GPU."""

    runner = "AOTIModelContainerRunnerXpu"

    @staticmethod
    def present() -> bool:
        return torch.xpu.is_available()


class MpsEngine(Engine):
    """An Apple GPU."""

    runner = "AOTIModelContainerRunnerMps"
    numbered = False

    @staticmethod
    def present() -> bool:
        return torch.backends.mps.is_available()


ENGINES: dict[str, type[Engine]] = {
    "cuda": CudaEngine,
    "xpu": XpuEngine,
    "mps": MpsEngine,
    "cpu": CpuEngine,
}
"""The engine for each type of device, the preferred one first."""


def cpu_features() -> dict[str, Any]:
    """Features of this CPU, by the names of ``torch.cpu.get_capabilities``."""
    probe = getattr(engine_module(), "cpu_features", None)
    if probe is not None:
        features: dict[str, Any] = probe()
        return features
    if hasattr(torch.cpu, "get_capabilities"):
        return dict(torch.cpu.get_capabilities())
    # Before torch 2.13 only the level is known. It implies the features of its x86-64 level.
    level = torch.backends.cpu.get_cpu_capability()
    v3 = level in {"AVX2", "AVX512"}
    names = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma3", "lzcnt")
    return dict.fromkeys(names, v3)


def one_thread() -> None:
    """Let engines use only the thread that calls, in a child that has no other ones."""
    for engine in _engines:
        if not engine.standalone:
            engine.one_thread()


def _after_fork() -> None:
    for engine in _engines:
        engine.unlock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
