"""Batching: requests of many threads and asyncio tasks share calls of a model.

A request is checked where it is made, by the model's own code, and joins a batch of requests of the
same sizes. A thread of its own, or as many as a pool has runners, runs the batches: torch has
OpenMP's threads for each thread that calls a model, and of asyncio nobody else could wait.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, NoReturn, ParamSpec, Self, TypeVar

from . import buffers
from .arrays import Arrays, as_tensor
from .dims import Dim
from .errors import QueueFullError
from .joining import Joining, Values, joining
from .lazy import torch
from .machine import cores, engine_module
from .not_a_module import listed, refuse_attributes
from .processes import stop_here

P = ParamSpec("P")
R = TypeVar("R")

MOST_WAIT_MS = 60_000

_TO_PICK_UP = 10e-6
"""Seconds that a thread may take to pick up its result."""


class Batched(Generic[P, R]):
    """A model whose calls are gathered; it is called as the model is.

    Args:
        model: The model.
        max_batch: Largest size of the batch dimension in a shared call.
        max_wait_ms: How long a request waits for others.
        dim: The batch dimension; that which all inputs begin with when None.
        max_queue: How many requests may wait.

    Raises:
        ValueError: A number is out of range, or the results of the model cannot be split.
    """

    def __init__(
        self, model: Any, max_batch: int, max_wait_ms: float, dim: str | None, max_queue: int
    ) -> None:
        name = f"{model._manifest.name}.batched()"
        self._made_of = (model, max_batch, max_wait_ms, dim, max_queue)
        self.__signature__ = inspect.signature(model)
        plan = joining(model._manifest, dim)
        range_of = model._manifest.dims[plan.dim]
        most = sys.maxsize if range_of.max is None else range_of.max
        _check_number(name, "max_batch", max_batch, max(range_of.min, 1), None)
        _check_number(name, "max_wait_ms", max_wait_ms, 0, MOST_WAIT_MS)
        _check_number(name, "max_queue", max_queue, 1, None)
        limit = min(max_batch, most)
        queue = _Queue(name, _Runner(model, plan), limit, max_wait_ms / 1e3, max_queue)
        self._name, self._queue, self._joining = name, queue, plan
        self._local = local = threading.local()
        self._call: Callable[P, R] = _behind(model, queue.run)
        self._check: Callable[P, R] = _behind(model, _admitted)
        self._result: Callable[P, R] = _behind(model, lambda _: local.outputs)
        # Where this is forgotten, nobody waits in its queue.
        weakref.finalize(self, queue.close, wait=False).atexit = False

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the model, and wait for the result.

        Raises:
            QueueFullError: Too many requests wait.
            RuntimeError: This is closed.
        """
        try:
            return self._call(*args, **kwargs)
        except _Failed as failed:
            error = failed.error
        if _ended and threading.current_thread().daemon:
            stop_here()
        try:
            raise error
        finally:
            del error  # it holds this frame

    async def acall(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the model in asyncio. A task that is cancelled leaves the queue.

        Raises:
            QueueFullError: Too many requests wait.
            RuntimeError: This is closed.
        """
        import asyncio

        if self._joining.changed:  # a thread holds the state as long as the request waits
            return await asyncio.to_thread(self, *args, **kwargs)
        loop = asyncio.get_running_loop()
        request = self._request(args, kwargs)
        request.loop, request.future = loop, loop.create_future()
        try:
            self._queue.add(request)
            await request.future
        except _Failed as failed:
            request.error = failed.error
        except BaseException:
            self._queue.withdraw(request)
            raise
        if request.error is not None:
            try:
                raise request.error
            finally:
                del request
        self._local.outputs = request.outputs
        try:
            return self._result(*args, **kwargs)
        finally:
            del self._local.outputs

    @property
    def inputs(self) -> dict[str, Any]:
        """What the model takes, see ``CompiledModel.inputs``."""
        inputs: dict[str, Any] = self._made_of[0].inputs
        return inputs

    @property
    def outputs(self) -> Any:
        """What the model returns, see ``CompiledModel.outputs``."""
        return self._made_of[0].outputs

    @property
    def dims(self) -> dict[str, Dim]:
        """The ranges of the dynamic dimensions of the model, by name."""
        dims: dict[str, Dim] = self._made_of[0].dims
        return dims

    def __dir__(self) -> list[str]:
        return listed(self)

    def _names(self) -> tuple[str, str]:
        """How messages name this, and the model."""
        calls: str = self._made_of[0]._names()[1]
        return self._name, calls

    def close(self) -> None:
        """Run the requests that wait, and refuse further ones. It may be called again."""
        self._queue.close(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        queue = self._queue
        return (
            f"<{self._name} of {queue.limit} along {self._joining.dim}, "
            f"{'closed' if queue.closed else f'{queue.waiting} waiting'}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_of  # with a queue of its own where it is unpickled

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def _request(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Request:
        try:
            self._check(*args, **kwargs)
        except _Admitted as admitted:
            return _Request(admitted.values)
        raise AssertionError  # it always tells the values so


refuse_attributes(Batched)


def _check_number(name: str, what: str, number: Any, low: int, high: int | None) -> None:
    """Refuse a number that is out of range; one without a limit is an integer."""
    kinds = (int,) if high is None else (int, float)
    of_kind = isinstance(number, kinds) and not isinstance(number, bool)
    if not of_kind or not low <= number <= (sys.maxsize if high is None else high):
        expected = f"an integer, {low} or more" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}: {what} is {number!r}, expected {expected}")


class _Failed(Exception):  # noqa: N818  # it never leaves this module
    """Brings an error through the code of the model, which would take it for one of its own."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Admitted(Exception):  # noqa: N818  # nor does this
    """Brings arguments that passed the checks."""

    def __init__(self, values: Values) -> None:
        self.values = values


def _admitted(values: Values) -> NoReturn:
    raise _Admitted(values)


class _Devices:
    """In place of what runs a model on each device: one for all that it was compiled for."""

    def __init__(self, model: Any, run: Callable[[Values], Sequence[Any]]) -> None:
        self._model, self._run = model, run

    def __getitem__(self, device: str) -> Callable[[Values], Sequence[Any]]:
        self._model._runs[device]  # it is loaded, or there is an error
        return self._run

    def __iter__(self) -> Iterator[str]:
        return iter(self._model._runs)


def _behind(model: Any, run: Callable[[Values], Sequence[Any]]) -> Any:
    """The model with something else behind its checks.

    It gets tensors, arrays of numpy, or arrays of the engine.
    """
    manifest = model._manifest

    def run_arrays(arrays: list[Any]) -> list[Any]:
        # All but what numpy has a dtype for comes as a capsule.
        whole = all(hasattr(array, "shape") for array in arrays)
        return list(run(arrays if whole else [_joinable(array) for array in arrays]))

    arrays = Arrays(manifest, run_arrays, checks=False, standalone=manifest.standalone)

    def call(*values: Any) -> Sequence[Any] | None:
        fits = model._fits  # the native engine tells the usual ones in C
        if fits is not None and fits(*values):
            return run(values)
        return arrays(*values)

    shell = object.__new__(type(model))
    shell.__dict__.update(model.__dict__)
    shell._call, shell._run, shell._runs = call, run, _Devices(model, run)
    return shell


def _joinable(array: Any) -> Any:
    """The array of the engine over a capsule or an array of numpy; a tensor without an engine."""
    engine = engine_module()
    if engine is None:
        return as_tensor(array)
    if not hasattr(array, "shape"):
        return engine.from_capsule(array)
    return buffers.Buffer(memoryview(array)).laid_out(list(range(array.ndim)))


class _Request:
    """What one caller wants, and gets."""

    __slots__ = ("batch", "error", "future", "loop", "outputs", "rows", "values")

    values: Values
    rows: int
    outputs: Sequence[Any]
    error: BaseException | None
    batch: _Batch | None
    loop: Any
    future: Any

    def __init__(self, values: Values) -> None:
        self.values = values
        self.error = self.batch = self.loop = None


class _Batch:
    """Requests that share a call."""

    __slots__ = ("done", "due", "kind", "requests", "rows", "served", "threads")

    def __init__(self, kind: Any, due: float) -> None:
        self.kind, self.due = kind, due
        self.rows = 0
        self.requests: list[_Request] = []
        self.done = threading.Lock()
        """Held until the results are there; who waits for it lets the next one through. A lock for
        each would let all threads fight for the interpreter at once."""
        self.done.acquire()
        self.threads = 0
        """How many threads have not picked up their results."""
        signal = getattr(engine_module(), "Signal", None)
        self.served = signal() if signal is not None else None
        """What is set when none is left; None where nothing waits for it."""

    def pick_up(self) -> None:
        """Wait for the results."""
        with self.done:
            self.threads -= 1
            if not self.threads and self.served is not None:
                self.served.set()

    def hand_out(self, requests: Sequence[_Request]) -> None:
        """Let the threads have their results, which are there."""
        self.threads = len([request for request in requests if request.loop is None])
        self.done.release()


class _Runner:
    """Runs batches by a model."""

    def __init__(self, model: Any, joining: Joining) -> None:
        self._model, self.joining = model, joining
        self.threads: int = model._pool.runners

    def run(self, requests: Sequence[_Request]) -> None:
        """Give each request its outputs or its error."""
        if len(requests) > 1:
            with contextlib.suppress(Exception):  # then each has an outcome of its own
                self._together(requests)
                return
        for request in requests:
            self._alone(request)

    def _together(self, requests: Sequence[_Request]) -> None:
        given, rows = [r.values for r in requests], [r.rows for r in requests]
        inputs = self.joining.join(given)
        outputs = self._compute(inputs)
        results = self.joining.split(outputs, rows)
        self.joining.write_back(inputs, given, rows)
        for request, own in zip(requests, results, strict=True):
            request.outputs = own

    def _alone(self, request: _Request) -> None:
        # The frames of this thread, in a traceback, would hold all requests of the batch.
        try:
            request.outputs = self._compute(request.values)
        except RuntimeError as error:
            failure: BaseException = self._model._failure(error)
            request.error = failure.with_traceback(None)
            if failure is not error:
                failure.__cause__ = error.with_traceback(None)
        except BaseException as error:  # noqa: BLE001  # it is the caller's
            request.error = error.with_traceback(None)

    def _compute(self, values: Values) -> Sequence[Any]:
        outputs: Sequence[Any] | None = self._model._call(*values)
        if outputs is None:
            values = self._model._admit(*values)
            outputs = self._model._runs[str(values[0].device)](values)
        return outputs


class _Queue:
    """Batches that wait for their turn, in the order in which their first requests came."""

    def __init__(self, name: str, runner: _Runner, limit: int, wait: float, most: int) -> None:
        self.limit = limit
        self.closed = False
        self._name, self._runner, self._wait, self._most = name, runner, wait, most
        self._rows, self._kind = runner.joining.rows, runner.joining.kind
        self.reset()
        _queues.add(self)

    def reset(self) -> None:
        """Begin anew, without the threads that a forked child does not have."""
        self.waiting = 0
        """How many requests wait."""
        # One that may be entered again, as by a finalizer that runs at any time.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._open: dict[Any, _Batch] = {}
        """The batches that take further requests, by what these have in common."""
        self._full: deque[_Batch] = deque()
        self._threads: list[threading.Thread] = []

    def add(self, request: _Request) -> _Batch:
        """Let a request wait, in a batch with others, which is returned.

        Raises:
            _Failed: Too many others wait, or the queue is closed.
        """
        kind = self._kind(request.values)
        request.rows = rows = self._rows(request.values)
        with self._lock:
            if self.closed or self.waiting >= self._most or not self._threads:
                self._prepare()
            batch = self._open.get(kind)
            if batch is not None and batch.rows + rows > self.limit:
                self._fill(batch)
                batch = None
            if batch is None:
                batch = self._open[kind] = _Batch(kind, time.monotonic() + self._wait)
                self._changed.notify()  # someone has to look at the clock
            batch.requests.append(request)
            batch.rows += rows
            request.batch = batch
            self.waiting += 1
            if batch.rows >= self.limit:
                self._fill(batch)
            return batch

    @property
    def full(self) -> bool:
        """Whether a batch waits that takes no further requests."""
        return bool(self._full)

    def _prepare(self) -> None:
        """Make sure that a request can be taken."""
        if self.closed:
            self._refuse_closed()
        if self.waiting >= self._most:
            raise _Failed(
                QueueFullError(
                    f"{self._name}: {self.waiting} requests are waiting, which is max_queue. "
                    "Send fewer at once, or try again later"
                )
            )
        if not self._threads:
            self._start()

    def run(self, values: Values) -> Sequence[Any]:
        """Wait for a request's turn, and give its outputs.

        Raises:
            _Failed: It is refused, or failed.
        """
        request = _Request(values)
        batch = self.add(request)
        try:
            batch.pick_up()
        except BaseException:  # such as KeyboardInterrupt
            self.withdraw(request)
            raise
        if request.error is not None:
            raise _Failed(request.error)
        return request.outputs

    def _fill(self, batch: _Batch) -> None:
        """Close a batch to further requests."""
        del self._open[batch.kind]
        self._full.append(batch)
        self._changed.notify()

    def withdraw(self, request: _Request) -> None:
        """Forget a request, if it still waits."""
        with self._lock:
            batch = request.batch
            if batch is None or request not in batch.requests:
                return
            batch.requests.remove(request)
            batch.rows -= request.rows
            self.waiting -= 1
            if batch.requests:
                return
            if self._open.get(batch.kind) is batch:
                del self._open[batch.kind]
            else:
                self._full.remove(batch)

    def take(self) -> tuple[_Batch, list[_Request]] | None:
        """Wait for a batch that may run; None when there will be no more."""
        with self._lock:
            while True:
                batch = self._next()
                if batch is not None:
                    requests, batch.requests = batch.requests, []
                    self.waiting -= len(requests)
                    if self._open or self._full:
                        self._changed.notify()
                    return batch, requests
                if self.closed:
                    return None
                self._changed.wait(self._patience())

    def _patience(self) -> float | None:
        """Seconds until a batch is due; None where there is none."""
        for batch in self._open.values():
            return batch.due - time.monotonic()
        return None

    def _next(self) -> _Batch | None:
        """The batch that has waited longest, of those that are full or have waited long enough."""
        first = next(iter(self._open.values()), None)
        ready = first is not None and (self.closed or first.due <= time.monotonic())
        if first is not None and ready and not (self._full and self._full[0].due <= first.due):
            return self._open.pop(first.kind)
        return self._full.popleft() if self._full else None

    def close(self, *, wait: bool) -> None:
        """Refuse further requests; those that wait are run."""
        with self._lock:
            self.closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        if wait:
            for thread in threads:
                thread.join()

    def _start(self) -> None:
        if not threading.main_thread().is_alive():  # the interpreter ends
            self._refuse_closed()
        for _ in range(self._runner.threads):
            thread = threading.Thread(
                target=_work, args=(self, self._runner), name=self._name, daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # there are too many
                if not self._threads:
                    raise _Failed(error) from None
                return
            self._threads.append(thread)

    def _refuse_closed(self) -> NoReturn:
        raise _Failed(
            RuntimeError(f"{self._name} is closed. Call the model itself, or make another one")
        )


def _work(queue: _Queue, runner: _Runner) -> None:
    """Run batches until the queue is closed."""
    prepared = False
    while (work := queue.take()) is not None:
        batch, requests = work
        if not prepared and "torch" in sys.modules:
            torch.set_grad_enabled(False)  # inputs that require gradients are joined, too
            torch.get_num_threads()  # OpenMP has the number for each thread; this sets it
            prepared = True
        runner.run(requests)
        batch.hand_out(requests)
        _tell_loops(requests)
        del work, requests
        if batch.threads > 1 and not queue.full:
            _stay_awake(batch)
        del batch


def _stay_awake(batch: _Batch) -> None:
    """Keep this thread's core awake while others pick up their results, one after the other.

    Each of them wakes the next one. Where a core has nothing else to do it falls asleep in between,
    and the next one is woken there: in a virtual machine that takes longer than all that is done in
    Python for a request. It is for microseconds, and not where there is but one core.
    """
    if batch.served is not None and cores() > 1:
        batch.served.wait(batch.threads * _TO_PICK_UP)


def _tell_loops(requests: Iterable[_Request]) -> None:
    """Wake the tasks that wait for requests; once for each event loop."""
    futures: dict[Any, list[Any]] = {}
    for request in requests:
        if request.loop is not None:
            futures.setdefault(request.loop, []).append(request.future)
    for loop, waiting in futures.items():
        try:
            loop.call_soon_threadsafe(_wake, waiting)
        except RuntimeError:  # it is closed, and nobody waits
            continue


def _wake(futures: Iterable[Any]) -> None:
    for future in futures:
        if not future.done():  # it may be cancelled
            future.set_result(None)


_queues: weakref.WeakSet[_Queue] = weakref.WeakSet()
_ended = False


def _at_exit() -> None:
    global _ended  # noqa: PLW0603  # a fact about the process
    _ended = True
    for queue in list(_queues):
        queue.close(wait=True)


# This module is imported after processes.py, and so ends before it: models still run.
atexit.register(_at_exit)


def _after_fork() -> None:
    for queue in list(_queues):
        queue.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
