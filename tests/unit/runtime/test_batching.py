"""Batching: requests of many threads and tasks that share calls."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import importlib
import inspect
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from samples import (
    IMAGE,
    TENSOR,
    Loaded,
    LoadPackage,
    assert_waits,
    call_manifest,
    sample_manifest,
    sample_variant,
)

from aotbuild.runtime.dims import Affine, Dim, Size
from aotbuild.runtime.joining import joining
from aotbuild.runtime.manifest import Input

LONG = 60_000
"""A wait that no test has the time for: a batch is full, or the queue closed, before."""
FOREVER = {"batch": Dim(1, None)}


def images(*rows: int) -> list[torch.Tensor]:
    """Requests of so many rows, each with a number of its own."""
    return [torch.full((count, 1, 8), float(i)) for i, count in enumerate(rows)]


class Doubling:
    """In place of compiled code: twice its inputs; it tells the sizes that it was called with."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        self.shapes.append(tuple(tensors[0].shape))
        assert self.go_on.wait(20)
        return [tensor * 2 for tensor in tensors]

    @property
    def rows(self) -> list[int]:
        return [shape[0] for shape in self.shapes]


@pytest.fixture
def doubling() -> Iterator[Doubling]:
    compute = Doubling()
    yield compute
    compute.go_on.set()


def outcomes(batched: Any, requests: Sequence[torch.Tensor]) -> list[Any]:
    """The results or errors of requests that come one after the other, before any batch is due."""

    async def together() -> list[Any]:
        tasks = [asyncio.ensure_future(batched.acall(request)) for request in requests]
        await asyncio.sleep(0)  # all of them wait
        await asyncio.to_thread(batched.close)
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(together())


def assert_doubled(results: Sequence[torch.Tensor], requests: Sequence[torch.Tensor]) -> None:
    assert len(results) == len(requests)
    for result, request in zip(results, requests, strict=True):
        assert torch.equal(result, request * 2)


def started(target: Callable[..., Any], *args: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=args)
    thread.start()
    return thread


def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in another thread."""
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError


def test_threads_share_calls(load_package: LoadPackage, doubling: Doubling) -> None:
    loaded = load_package(compute=doubling)
    requests = images(*[1] * 8)
    with loaded.net.batched(4, LONG) as batched, ThreadPoolExecutor(8) as threads:
        assert_doubled(list(threads.map(batched, requests)), requests)
    assert doubling.rows == [4, 4]


def test_a_request_waits_no_longer_than_it_shall(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    with load_package(compute=doubling).net.batched(4, 1) as batched:
        assert_doubled([batched(image) for image in images(1, 2)], images(1, 2))
    assert doubling.rows == [1, 2]


def test_requests_gather_while_a_call_runs(load_package: LoadPackage, doubling: Doubling) -> None:
    doubling.go_on.clear()
    with load_package(compute=doubling).net.batched(64, 0) as batched:
        threads = [started(batched, images(1)[0])]
        until(lambda: doubling.rows == [1])
        threads += [started(batched, image) for image in images(1, 1, 1)]
        until(lambda: "3 waiting" in repr(batched))
        doubling.go_on.set()
        for thread in threads:
            thread.join(120)
    assert doubling.rows == [1, 3]


@pytest.mark.parametrize(
    ("most", "requested", "called"),
    [
        (4, [1, 1, 1], [3]),
        (4, [1, 1, 1, 1, 1], [4, 1]),
        (4, [3, 2, 2], [3, 4]),  # in their order, and none is cut
        (4, [1, 9, 1], [1, 9, 1]),  # larger than max_batch, but not than the model takes
        (100, [40, 40, 24], [40, 64]),  # never more than the model takes
        (1, [1, 1], [1, 1]),
    ],
)
def test_a_batch_has_no_more_rows_than_it_may(
    load_package: LoadPackage,
    doubling: Doubling,
    most: int,
    requested: list[int],
    called: list[int],
) -> None:
    loaded = load_package(compute=doubling)
    requests = images(*requested)
    assert_doubled(outcomes(loaded.net.batched(most, LONG), requests), requests)
    assert doubling.rows == called


def test_a_batch_of_multiples_is_a_multiple(load_package: LoadPackage, doubling: Doubling) -> None:
    loaded = load_package(sample_manifest(dims={"batch": Dim(2, 12, 2)}), compute=doubling)
    requests = images(2, 4, 2, 2)
    results = outcomes(loaded.net.batched(7, LONG), [*requests, *images(3)])
    assert isinstance(results.pop(), ValueError)
    assert_doubled(results, requests)
    assert doubling.rows == [6, 4]


def test_requests_of_other_sizes_are_apart(load_package: LoadPackage, doubling: Doubling) -> None:
    shape: list[Size] = ["batch", Affine("length", 1, 1), "length"]
    manifest = sample_manifest(
        inputs=[Input("x", "float32", shape, [0, 1, 2])],
        outputs={**TENSOR, "shape": ["batch", "length + 1", "length"]},
        dims={"batch": Dim(1, 8), "length": Dim(1, 9)},
    )
    loaded = load_package(manifest, compute=doubling)
    lengths = [3, 5, 3, 5, 5, 7]
    requests = [torch.full((1, length + 1, length), float(i)) for i, length in enumerate(lengths)]
    assert_doubled(outcomes(loaded.net.batched(3, LONG), requests), requests)
    assert sorted(doubling.shapes) == [(1, 8, 7), (2, 4, 3), (3, 6, 5)]


def test_a_full_batch_does_not_keep_an_older_one_waiting(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    manifest = sample_manifest(
        inputs=[Input("x", "float32", ["batch", "length"], [0, 1])],
        outputs={**TENSOR, "shape": ["batch", "length"]},
        dims={"batch": Dim(1, 8), "length": Dim(1, 9)},
    )
    doubling.go_on.clear()
    loaded = load_package(manifest, compute=doubling)
    with loaded.net.batched(2, 1) as batched:
        threads = [started(batched, torch.zeros(2, 1))]
        until(lambda: len(doubling.shapes) == 1)
        for i, length in enumerate([2, 3, 3, 3, 3], 1):
            threads.append(started(batched, torch.zeros(1, length)))
            until(lambda i=i: f"{i} waiting" in repr(batched))  # type: ignore[misc]
        threading.Event().wait(0.01)  # the first of them is due
        doubling.go_on.set()
        for thread in threads:
            thread.join(120)
    assert doubling.shapes == [(2, 1), (1, 2), (2, 3), (2, 3)]


def test_the_results_have_memory_of_their_own(load_package: LoadPackage) -> None:
    results = outcomes(load_package().net.batched(4, LONG), images(1, 3))
    assert [result.untyped_storage().nbytes() for result in results] == [32, 96]
    results[0].fill_(7)
    assert torch.equal(results[1], images(1, 3)[1])
    assert not results[1]._version


def test_gradients_are_not_recorded(load_package: LoadPackage, doubling: Doubling) -> None:
    requests = [image.requires_grad_() for image in images(1, 1)]
    results = outcomes(load_package(compute=doubling).net.batched(4, LONG), requests)
    assert_doubled(results, requests)
    assert not any(result.requires_grad for result in results)


WRONG: dict[str, Callable[[Any], Any]] = {
    "dtype": lambda net: net(torch.zeros(1, 1, 8, dtype=torch.float64)),
    "rank": lambda net: net(torch.zeros(1, 8)),
    "size": lambda net: net(torch.zeros(1, 1, 7)),
    "range": lambda net: net(torch.zeros(65, 1, 8)),
    "kind": lambda net: net([1.0]),
    "sparse": lambda net: net(torch.zeros(1, 1, 8).to_sparse()),
    "none": lambda net: net(),
    "two": lambda net: net(torch.zeros(1, 1, 8), torch.zeros(1, 1, 8)),
    "unknown": lambda net: net(picture=torch.zeros(1, 1, 8)),
    "vmap": lambda net: torch.vmap(net)(torch.zeros(2, 1, 1, 8)),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_request_fails_alone_as_the_model_does(
    load_package: LoadPackage, doubling: Doubling, call: Callable[[Any], Any]
) -> None:
    net = load_package(compute=doubling).net
    with pytest.raises((TypeError, ValueError)) as expected:
        call(net)
    with net.batched(2, LONG) as batched:
        for ask in (batched, lambda *args, **kwargs: asyncio.run(batched.acall(*args, **kwargs))):
            with pytest.raises((TypeError, ValueError)) as caught:
                call(ask)
            assert type(caught.value) is type(expected.value)
            assert str(caught.value) == str(expected.value)
        with ThreadPoolExecutor(2) as threads:
            assert_doubled(list(threads.map(batched, images(1, 1))), images(1, 1))
    assert doubling.rows == [2]


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (
            RuntimeError("index out of bounds: 0 <= tmp < 9\nat ..."),
            IndexError,
            "net(): an index is outside of what it picks from.",
        ),
        (RuntimeError("no luck"), RuntimeError, "net(): the compiled code failed: no luck"),
        (torch.OutOfMemoryError("full"), torch.OutOfMemoryError, "full"),
        (MemoryError("full"), MemoryError, "full"),
    ],
)
def test_an_error_of_a_shared_call_is_that_of_the_request_it_is_for(
    load_package: LoadPackage, error: Exception, kind: type[Exception], told: str
) -> None:
    def compute(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        if 1.0 in tensors[0]:
            raise error
        return tensors

    net = load_package(compute=compute).net
    first, wrong, last = outcomes(net.batched(4, LONG), images(1, 1, 1))
    assert torch.equal(first, images(1, 1, 1)[0])
    assert torch.equal(last, images(1, 1, 1)[2])
    with net.batched(1) as batched, pytest.raises(kind) as caught:
        batched(images(1, 1)[1])
    for found in (wrong, caught.value):
        assert type(found) is kind
        assert str(found) == told
        assert found is error or found.__cause__ is error


def test_requests_are_refused_at_once_while_too_many_wait(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    doubling.go_on.clear()
    loaded = load_package(compute=doubling)
    net, full = loaded.net, runtime(loaded).QueueFullError
    with net.batched(2, 0, max_queue=3) as batched:
        threads = [started(batched, images(1)[0])]
        until(lambda: doubling.rows == [1])
        threads += [started(batched, image) for image in images(1, 1, 1)]
        until(lambda: "3 waiting" in repr(batched))
        for _ in range(2):
            with pytest.raises(RuntimeError) as caught:
                batched(images(1)[0])
            with pytest.raises(full):
                asyncio.run(batched.acall(images(1)[0]))
        assert type(caught.value) is full
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert str(caught.value) == (
            "net.batched(): 3 requests are waiting, which is max_queue. "
            "Send fewer at once, or try again later"
        )
        doubling.go_on.set()
        for thread in threads:
            thread.join(120)
        assert_doubled([batched(images(1)[0])], images(1))
    assert sum(doubling.rows) == 5


def runtime(loaded: Loaded) -> Any:
    """The runtime in a package."""
    return importlib.import_module(f"{loaded.package.__name__}._runtime")


@pytest.fixture
def complaints() -> Iterator[list[Any]]:
    """What event loops and threads have complained about."""
    found: list[Any] = []
    before = threading.excepthook
    threading.excepthook = found.append
    yield found
    threading.excepthook = before


async def cancelled(
    batched: Any, requests: Sequence[torch.Tensor], complaints: list[Any]
) -> list[Any]:
    """Cancel requests that wait, or of which a batch runs."""
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    tasks = [asyncio.ensure_future(batched.acall(request)) for request in requests]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def left(*names: str) -> int:
    """How many objects of these classes there are."""
    gc.collect()
    return sum(type(found).__name__ in names for found in gc.get_objects())


@pytest.mark.parametrize("most", [64, 20_000])
def test_cancelled_requests_leave_nothing_behind(
    load_package: LoadPackage, doubling: Doubling, complaints: list[Any], most: int
) -> None:
    doubling.go_on.clear()
    loaded = load_package(sample_manifest(dims=FOREVER), compute=doubling)
    with loaded.net.batched(most, LONG, max_queue=10_000) as batched:
        results = asyncio.run(cancelled(batched, images(1) * 10_000, complaints))
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert "0 waiting" in repr(batched)
        doubling.go_on.set()  # for the batches that were full before
        until(lambda: not batched._queue._full)
        assert not batched._queue._open
        del results
        assert_doubled(outcomes(batched, images(1)), images(1))
    assert left("_Request", "_Batch", "Task", "Future") == 0
    assert complaints == []


def test_a_cancelled_request_does_not_run(load_package: LoadPackage, doubling: Doubling) -> None:
    loaded = load_package(compute=doubling)
    batched = loaded.net.batched(3, LONG)

    async def main() -> Any:
        first, second = [asyncio.ensure_future(batched.acall(image)) for image in images(1, 1)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        await asyncio.to_thread(batched.close)
        return await second

    assert torch.equal(asyncio.run(main()), images(1, 1)[1] * 2)
    assert doubling.rows == [1]


def test_a_timeout_leaves_the_queue(load_package: LoadPackage, doubling: Doubling) -> None:
    with load_package(compute=doubling).net.batched(2, LONG) as batched:

        async def main() -> None:
            await asyncio.wait_for(batched.acall(images(1)[0]), 0.01)

        with pytest.raises(TimeoutError):
            asyncio.run(main())
        assert "0 waiting" in repr(batched)
    assert doubling.rows == []


def test_several_loops_and_threads_share_calls(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    loaded = load_package(compute=doubling)

    async def gathered(requests: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return list(await asyncio.gather(*(batched.acall(request) for request in requests)))

    def ask(turn: int) -> bool:
        requests = [torch.full((1, 1, 8), float(turn * 100 + i)) for i in range(25)]
        in_loop = turn % 2
        results = asyncio.run(gathered(requests)) if in_loop else list(map(batched, requests))
        assert_doubled(results, requests)
        return True

    with loaded.net.batched(8, 1) as batched, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(8)))
    assert sum(doubling.rows) == 200
    assert max(doubling.rows) <= 8


def test_a_loop_that_ended_is_no_trouble(load_package: LoadPackage, doubling: Doubling) -> None:
    doubling.go_on.clear()
    with load_package(compute=doubling).net.batched(1) as batched:
        loop = asyncio.new_event_loop()
        task = loop.create_task(batched.acall(images(1)[0]))
        loop.run_until_complete(asyncio.sleep(0))
        until(lambda: doubling.rows == [1])
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        loop.close()
        doubling.go_on.set()
        assert_doubled([batched(images(1)[0])], images(1))


def test_closing_runs_what_waits_and_refuses_the_rest(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    doubling.go_on.clear()
    net = load_package(compute=doubling).net
    batched = net.batched(2, LONG)
    requests = images(1, 1, 1)
    with ThreadPoolExecutor(3) as threads:
        results = threads.map(batched, requests)
        until(lambda: doubling.rows == [2] and "1 waiting" in repr(batched))
        closing = assert_waits(batched.close)
        for call in (batched, lambda image: asyncio.run(batched.acall(image))):
            with pytest.raises(RuntimeError) as caught:
                call(images(1)[0])
            assert str(caught.value) == (
                "net.batched() is closed. Call the model itself, or make another one"
            )
        doubling.go_on.set()
        assert_doubled(list(results), requests)
        closing.join(20)
    batched.close()
    assert repr(batched) == "<net.batched() of 2 along batch, closed>"
    assert (batched.inputs, batched.outputs, batched.dims) == (net.inputs, net.outputs, net.dims)
    assert inspect.signature(batched) == inspect.signature(net)
    with pytest.raises(AttributeError, match=r"net\.module\(\) is a module that calls it"):
        batched.eval()
    assert "eval" not in dir(batched)
    assert "net.batched()" not in {thread.name for thread in threading.enumerate()}
    assert torch.equal(net(images(2)[0]), images(2)[0] * 2)


def test_what_is_forgotten_ends_its_thread(load_package: LoadPackage) -> None:
    batched = load_package().net.batched(1)
    batched(images(1)[0])
    (thread,) = [t for t in threading.enumerate() if t.name == "net.batched()"]
    del batched
    gc.collect()
    thread.join(120)
    assert not thread.is_alive()


def test_a_thread_starts_with_the_first_request(load_package: LoadPackage) -> None:
    before = threading.active_count()
    with load_package().net.batched(1) as batched:
        assert threading.active_count() == before
        batched(images(1)[0])
        assert threading.active_count() == before + 1


def test_a_forked_child_has_a_queue_of_its_own(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    doubling.go_on.clear()
    with load_package(compute=doubling).net.batched(2, 1) as batched:
        threads = [started(batched, images(1)[0])]
        until(lambda: doubling.rows == [1])
        threads.append(started(batched, images(1)[0]))
        until(lambda: "1 waiting" in repr(batched))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forks while there are threads
            child = os.fork()
        if not child:
            doubling.go_on.set()
            right = "0 waiting" in repr(batched)
            right &= torch.equal(batched(images(1, 1)[1]), images(1, 1)[1] * 2)
            batched.close()
            os._exit(not right)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        doubling.go_on.set()
        for thread in threads:
            thread.join(120)
    assert doubling.rows == [1, 1]


def test_an_interrupted_request_leaves_the_queue(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    batched = load_package(compute=doubling).net.batched(2, LONG)

    class Interrupted:
        """A batch whose caller is interrupted while it waits."""

        def pick_up(self) -> None:
            raise KeyboardInterrupt

    add = batched._queue.add
    batched._queue.add = lambda request: add(request) and Interrupted()
    with pytest.raises(KeyboardInterrupt):
        batched(images(1)[0])
    assert "0 waiting" in repr(batched)
    batched.close()
    assert doubling.rows == []


def test_nested_arguments_and_results(load_package: LoadPackage, doubling: Doubling) -> None:
    manifest = call_manifest(
        {"state": {"a": torch.zeros(2, 3), "b": (torch.zeros(2, 3), True)}, "mask": torch.zeros(2)},
        dims={"batch": Dim(1, 8)},
    )
    loaded = load_package(manifest, compute=doubling)
    with loaded.net.batched(6, LONG) as batched, ThreadPoolExecutor(3) as threads:

        def ask(number: int) -> list[torch.Tensor]:
            a, b, mask = (torch.full((2, 3), float(number + i)) for i in range(3))
            found: list[torch.Tensor] = batched({"a": a, "b": (b, True)}, mask=mask)
            return found

        for number, results in enumerate(threads.map(ask, range(3))):
            assert [result.tolist() for result in results] == [
                [[2.0 * (number + i)] * 3] * 2 for i in range(3)
            ]
    assert doubling.rows == [6]


def test_constants_and_returned_inputs_pass(load_package: LoadPackage, doubling: Doubling) -> None:
    outputs = {
        "type": "dict",
        "keys": ["none", "given", "twice"],
        "items": [{"type": "constant", "value": None}, {**TENSOR, "input": 0}, TENSOR],
    }
    loaded = load_package(sample_manifest(outputs=outputs), compute=doubling)
    requests = images(1, 1)
    results = outcomes(loaded.net.batched(2, LONG), requests)
    assert_doubled([result["twice"] for result in results], requests)
    for result, request in zip(results, requests, strict=True):
        assert result["given"] is request
        assert result["none"] is None
    assert doubling.rows == [2]


def test_arrays_share_calls_with_arrays(load_package: LoadPackage, doubling: Doubling) -> None:
    net = load_package(compute=doubling).net
    tensors = images(1, 1)
    requests: list[Any] = [tensors[0], tensors[0].numpy(), tensors[1], tensors[1].double().numpy()]
    requests.append(tensors[1].numpy())
    results = outcomes(net.batched(3, LONG), requests)
    wrong = results.pop(3)
    assert isinstance(wrong, TypeError)
    with pytest.raises(TypeError) as expected:
        net(requests[3])
    assert str(wrong) == str(expected.value)
    kinds = [torch.Tensor, np.ndarray, torch.Tensor, np.ndarray]
    assert [type(result) for result in results] == kinds
    for result, tensor in zip(results, [tensors[0]] * 2 + [tensors[1]] * 2, strict=True):
        assert np.array_equal(result, tensor.numpy() * 2)
    assert doubling.rows == [2, 2]
    with net.batched(2, LONG) as batched, ThreadPoolExecutor(2) as threads:
        for result, tensor in zip(
            threads.map(batched, [tensor.numpy() for tensor in tensors]), tensors, strict=True
        ):
            assert type(result) is np.ndarray
            assert np.array_equal(result, tensor.numpy() * 2)
    assert doubling.rows == [2, 2, 2]


class Half:
    """An array of a library whose dtype numpy lacks."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor, self.shape, self.dtype = tensor, tensor.shape, tensor.dtype

    def __dlpack__(self, **how: Any) -> Any:
        return self.tensor.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __array_namespace__(self) -> Any:
        return HALVES


HALVES = SimpleNamespace(__name__="halves", from_dlpack=Half)


def test_an_array_that_is_returned_is_that_of_the_request(load_package: LoadPackage) -> None:
    outputs = {"type": "tuple", "items": [{**TENSOR, "index": 0}, {**TENSOR, "input": 0}]}
    outputs["items"][1]["index"] = 1  # type: ignore[index]
    loaded = load_package(
        sample_manifest(outputs=outputs), compute=lambda tensors: [tensors[0] * 2, tensors[0]]
    )
    requests: list[Any] = [image.numpy() for image in images(1, 1)]
    for (doubled, same), given in zip(
        outcomes(loaded.net.batched(2, LONG), requests), requests, strict=True
    ):
        assert same is given
        np.testing.assert_array_equal(doubled, given * 2)


def test_arrays_that_numpy_does_not_know_share_calls(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    manifest = sample_manifest(inputs=[dataclasses.replace(IMAGE, dtype="bfloat16")])
    loaded = load_package(manifest, compute=doubling)
    halves = [image.bfloat16() for image in images(1, 1)]
    requests: list[Any] = [Half(half) for half in halves]
    results = outcomes(loaded.net.batched(2, LONG), requests)
    assert [type(result) for result in results] == [Half, Half]
    assert_doubled([result.tensor for result in results], halves)
    assert doubling.rows == [2]


def test_results_are_written_to_what_is_given(
    load_package: LoadPackage, doubling: Doubling
) -> None:
    loaded = load_package(compute=doubling)
    requests = images(1, 1)
    with loaded.net.batched(2, LONG) as batched, ThreadPoolExecutor(2) as threads:
        given = [torch.zeros(1, 1, 8) for _ in requests]
        results = list(threads.map(lambda *pair: batched(pair[0], out=pair[1]), requests, given))
        assert all(result is out for result, out in zip(results, given, strict=True))
        assert_doubled(given, requests)
    assert doubling.rows == [2]


def test_methods_are_batched(load_package: LoadPackage, doubling: Doubling) -> None:
    loaded = load_package(
        sample_manifest(method="encode"), sample_manifest(method="decode"), compute=doubling
    )
    batched = loaded.net.encode.batched(2, LONG)
    assert repr(batched) == "<net.encode.batched() of 2 along batch, 0 waiting>"
    assert_doubled(outcomes(batched, images(1, 1)), images(1, 1))
    assert doubling.rows == [2]


def test_a_pool_runs_as_many_batches_at_once(load_package: LoadPackage) -> None:
    running = threading.Barrier(2)

    def compute(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        running.wait(10)  # passes only when both are here
        return tensors

    pool = load_package(compute=compute).net.pool(2)
    with pool.batched(2, LONG) as batched, ThreadPoolExecutor(4) as threads:
        assert len(list(threads.map(batched, images(1, 1, 1, 1)))) == 4
    assert not running.broken


def test_requests_on_other_devices_are_apart(load_package: LoadPackage) -> None:
    manifest = sample_manifest(variants=[sample_variant(), sample_variant(device="cuda")])
    loaded = load_package(manifest)
    loaded.use("cuda", present=False)
    results = outcomes(
        loaded.net.batched(2, LONG), [images(1)[0], torch.zeros(1, 1, 8, device="meta"), *images(1)]
    )
    assert torch.equal(results[0], results[2])
    assert str(results[1]).startswith("net(): argument 'image' ")


def test_the_named_dimension_may_be_anywhere(load_package: LoadPackage, doubling: Doubling) -> None:
    shape: list[Size] = ["steps", "batch", 2]
    manifest = sample_manifest(
        inputs=[Input("x", "float32", shape, [0, 1, 2])],
        outputs={**TENSOR, "shape": shape},
        dims={"steps": Dim(1, 9), "batch": Dim(1, 4)},
    )
    loaded = load_package(manifest, compute=doubling)
    requests = [torch.rand(3, 1, 2), torch.rand(3, 2, 2), torch.rand(5, 1, 2)]
    assert_doubled(outcomes(loaded.net.batched(4, LONG, dim="batch"), requests), requests)
    assert doubling.shapes == [(3, 3, 2), (5, 1, 2)]


def test_inputs_are_joined_in_the_layout_that_is_read(load_package: LoadPackage) -> None:
    manifest = sample_manifest(inputs=[Input("x", "float32", ["batch", 1, 8], [0, 2, 1])])
    loaded = load_package(manifest)
    requests = images(2, 3)
    assert len(outcomes(loaded.net.batched(5, LONG), requests)) == 2
    (received,) = loaded.received
    assert received.permute(0, 2, 1).is_contiguous()
    assert torch.equal(received, torch.cat(requests))


APART = ", so that requests cannot share a call. Call the model itself"
NOT_ALL = "the inputs do not all begin with the same dynamic dimension: 'image' is (batch, 1, 8), "
STATIC = (
    "all sizes of the model are fixed, and its requests cannot share a call. Declare a dynamic "
    "dimension, such as dims.batch = { max = 64 }, and build it again"
)
CONDITION = (
    "the compiled code needs batch % 3 != 1, which requests that have it may not have together. "
    "Call the model itself"
)

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "static": (
        {"inputs": [Input("x", "float32", [2], [0])], "dims": {}},
        STATIC,
    ),
    "shared input": (
        {"inputs": [IMAGE, Input("scale", "float32", [3], [0])]},
        NOT_ALL + "'scale' is (3,). Name one that all of them have: dim=...",
    ),
    "number": (
        {"inputs": [IMAGE, Input("scale", "float32", [], [])]},
        NOT_ALL + "'scale' is (). Name one that all of them have: dim=...",
    ),
    "derived input": (
        {"inputs": [IMAGE, Input("x", "float32", ["batch", Affine("batch", 2, 1)], [0, 1])]},
        f"argument 'x' of shape (batch, 2*batch+1) does not have just one dimension batch{APART}",
    ),
    "mean": (
        {"outputs": {**TENSOR, "shape": [1, 8]}},
        f"the result of shape (1, 8) has no dimension batch{APART}",
    ),
    "similarity": (
        {"outputs": {"type": "dict", "keys": ["s"], "items": [{**TENSOR, "shape": ["batch"] * 2}]}},
        f"the result['s'] of shape (batch, batch) does not have just one dimension batch{APART}",
    ),
    "derived output": (
        {"outputs": {"type": "tuple", "items": [TENSOR, {**TENSOR, "shape": ["2*batch"]}]}},
        f"the result[1] of shape (2*batch,) does not have just one dimension batch{APART}",
    ),
    "size": (
        {"outputs": {"type": "list", "items": [{"type": "int", "index": 0}]}},
        f"the result[0] is a number that is computed from sizes{APART}",
    ),
    "condition": (
        {"conditions": ["batch % 3 != 1"]},
        CONDITION,
    ),
}


@pytest.mark.parametrize(("changes", "told"), REFUSED.values(), ids=REFUSED)
def test_a_model_whose_requests_cannot_share_a_call_is_refused(
    load_package: LoadPackage, changes: dict[str, Any], told: str
) -> None:
    net = load_package(sample_manifest(**changes)).net
    with pytest.raises(ValueError, match=r"^net\.batched\(\): ") as caught:
        net.batched(4)
    assert str(caught.value) == f"net.batched(): {told}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"max_batch": 0}, "max_batch is 0, expected an integer, 2 or more"),
        ({"max_batch": 1}, "max_batch is 1, expected an integer, 2 or more"),
        ({"max_batch": 2.0}, "max_batch is 2.0, expected an integer, 2 or more"),
        ({"max_batch": True}, "max_batch is True, expected an integer, 2 or more"),
        ({"max_wait_ms": -1}, "max_wait_ms is -1, expected 0 to 60000"),
        ({"max_wait_ms": float("nan")}, "max_wait_ms is nan, expected 0 to 60000"),
        ({"max_wait_ms": 1e9}, "max_wait_ms is 1000000000.0, expected 0 to 60000"),
        ({"max_wait_ms": "2"}, "max_wait_ms is '2', expected 0 to 60000"),
        ({"max_queue": 0}, "max_queue is 0, expected an integer, 1 or more"),
        ({"max_queue": None}, "max_queue is None, expected an integer, 1 or more"),
        ({"dim": "bath"}, "dim is 'bath', the dimensions of the model are: 'batch'"),
        ({"dim": 0}, "dim is 0, the dimensions of the model are: 'batch'"),
    ],
)
def test_a_wrong_argument_is_refused(
    load_package: LoadPackage, arguments: dict[str, Any], told: str
) -> None:
    net = load_package(sample_manifest(dims={"batch": Dim(2, 64)})).net
    with pytest.raises(ValueError, match=r"^net\.batched\(\): ") as caught:
        net.batched(**{"max_batch": 4, **arguments})
    assert str(caught.value) == f"net.batched(): {told}"


class Array:
    """An array of the array API, and of no library that is known."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def __getitem__(self, place: Any) -> Array:
        return Array(self.values[place])

    def __array_namespace__(self) -> Any:
        def concat(arrays: list[Array], axis: int) -> Array:
            return Array(np.concatenate([array.values for array in arrays], axis))

        def asarray(array: Array, *, copy: bool) -> Array:
            assert copy
            return Array(array.values.copy())

        return SimpleNamespace(concat=concat, asarray=asarray)


def plain(array: Any) -> Any:
    return array.values if isinstance(array, Array) else np.asarray(array)


@pytest.mark.parametrize("make", [np.asarray, Array, torch.tensor])
@pytest.mark.parametrize("axis", [0, 1])
def test_other_arrays_are_joined_and_split_alike(make: Callable[[Any], Any], axis: int) -> None:
    shapes: list[list[Size]] = [["batch", 2], [2, "batch"]]
    shape = shapes[axis]
    spec = Input("x", "float32", shape, [0, 1])
    found = joining(sample_manifest(inputs=[spec], outputs={**TENSOR, "shape": shape}), "batch")
    parts = [make([[1.0, 2.0], [3.0, 4.0]]), make([[5.0, 6.0], [7.0, 8.0]])]
    rows = [found.rows([part]) for part in parts]
    assert rows == [2, 2]
    assert found.kind([parts[0]]) is type(parts[0])
    (whole,) = found.join([[part] for part in parts])
    assert tuple(whole.shape) == ((4, 2), (2, 4))[axis]
    results = found.split([whole], [2, 2])
    for (result,), part in zip(results, parts, strict=True):
        assert type(result) is type(part)
        assert np.array_equal(plain(result), plain(part))
