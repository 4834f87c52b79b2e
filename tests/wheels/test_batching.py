"""Requests that share calls of compiled models, and what a server does around them."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheels import AWAIT_CHILD, KINDS, REPOSITORY, STANDALONE, Installed, of_kind, run_plain


@pytest.fixture(scope="module", params=KINDS)
def calls(installed: Callable[[str], Installed], request: pytest.FixtureRequest) -> Installed:
    return of_kind(installed, "calls", request.param)


HEAD = """
import asyncio, json, os, threading, time, torch
from concurrent.futures import ThreadPoolExecutor
from calls.models import conv, dense, lookup, nested
from calls.models._runtime import QueueFullError
torch.set_num_threads(1)
torch.manual_seed(0)

def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
"""


def test_64_threads_get_their_own_right_answers(calls: Installed) -> None:
    served = calls.run(
        HEAD
        + """
def work(turn):
    generator = torch.Generator().manual_seed(turn)
    requests = [torch.randn(1 + i % 3, 6, generator=generator) for i in range(50)]
    for request, expected in [(request, dense(request)) for request in requests]:
        close(batched(request), expected)
    return len(requests)

found = []
for model in (dense, dense.pool(2)):
    with model.batched(64, 1) as batched, ThreadPoolExecutor(64) as threads:
        found.append(sum(threads.map(work, range(64))))
print(json.dumps(found))
"""
    )
    assert served == [3200, 3200]


def test_a_thread_that_stays_awake_lets_others_run(installed: Callable[[str], Installed]) -> None:
    waited = installed("calls").run(
        """
import importlib, json, threading
from calls import models
Signal = importlib.import_module("calls.models._runtime._engine").Signal
signal = Signal()
thread = threading.Thread(target=signal.wait, args=(3600.0,))
thread.start()
signal.set()  # which only another thread can do while that one waits
thread.join()
told = [signal.wait(3600.0), Signal().wait(0.001)]
for wrong in ((), (1.0, 2.0), ("long",)):
    try:
        signal.wait(*wrong)
    except TypeError:
        told.append("TypeError")
print(json.dumps(told))
"""
    )
    assert waited == [True, False, *["TypeError"] * 3]


def test_nested_arguments_from_tasks_of_several_loops(calls: Installed) -> None:
    served = calls.run(
        HEAD
        + """
def made(rows):
    state = {"a": torch.randn(rows, 4), "b": {"c": torch.randn(rows, 4, dtype=torch.float64)}}
    return state, (torch.randn(rows), torch.rand(rows) > 0.5)

async def together(requests):
    return await asyncio.gather(*(batched.acall(s, pair=p) for s, p in requests))

def work(turn):
    requests = [made(1 + i % 2) for i in range(40)]
    for (state, pair), result in zip(requests, asyncio.run(together(requests)), strict=True):
        close(result, nested(state, pair))
    return len(requests)

with nested.batched(8, 1) as batched, ThreadPoolExecutor(4) as threads:
    print(json.dumps(sum(threads.map(work, range(4)))))
"""
    )
    assert served == 160


def test_images_in_their_layout(calls: Installed) -> None:
    strides = calls.run(
        HEAD
        + """
shape = next(spec.shape for spec in conv._manifest.inputs)
sizes = [size if type(size) is int else 8 for size in shape[1:]]
images = [torch.randn(1, *sizes) for _ in range(4)]
with conv.batched(4, 60_000) as batched, ThreadPoolExecutor(4) as threads:
    results = list(threads.map(batched, images))
for image, result in zip(images, results, strict=True):
    close(result, conv(image))
print(json.dumps([[t.stride() for t in results[0]], [t.stride() for t in conv(images[0])]]))
"""
    )
    assert strides[0] == strides[1]


def test_an_index_out_of_range_is_the_error_of_one_request(calls: Installed) -> None:
    right, told = calls.run(
        HEAD
        + """
requests = [torch.randint(0, 10, (1, 5)) for _ in range(4)]
requests[2][0, 3] = 10

def work(request):
    try:
        return batched(request)
    except IndexError as error:
        return str(error)

with lookup.batched(4, 60_000) as batched, ThreadPoolExecutor(4) as threads:
    results = list(threads.map(work, requests))
told = results.pop(2)
del requests[2]
close(results, [lookup(request) for request in requests])
print(json.dumps([len(results), told]))
"""
    )
    assert right == 3
    assert told.startswith("lookup(): an index is outside of what it picks from.")


def test_an_overload_is_refused_and_what_waits_is_served(calls: Installed) -> None:
    served, refused = calls.run(
        HEAD
        + """
requests = [torch.randn(1, 6) for _ in range(8)]
batched = dense.batched(16, 60_000, max_queue=5)

def work(request):
    try:
        return batched(request)
    except QueueFullError:
        return None

with ThreadPoolExecutor(8) as threads:
    results = [threads.submit(work, request) for request in requests]
    while sum(result.done() for result in results) < 3:
        time.sleep(0.01)
    batched.close()
results = [result.result() for result in results]
for request, result in zip(requests, results, strict=True):
    if result is not None:
        close(result, dense(request))
print(json.dumps([sum(r is not None for r in results), sum(r is None for r in results)]))
"""
    )
    assert (served, refused) == (5, 3)


def test_a_forked_child_has_batches_of_its_own(calls: Installed) -> None:
    assert calls.run(
        HEAD
        + """
batched = dense.batched(4, 1)
x = torch.randn(1, 6)
expected = batched(x)
child = os.fork()
if not child:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(batched, [x] * 64))
    right = all(torch.allclose(result, expected, atol=1e-5) for result in results)
    os._exit(0 if right else 1)
"""
        + AWAIT_CHILD
        + """close(batched(x), expected)
print(json.dumps(bool(ended) and status == 0))
"""
    )


@pytest.mark.parametrize("daemon", [True, False])
def test_the_process_ends_while_requests_wait(calls: Installed, daemon: bool) -> None:  # noqa: FBT001
    done = calls.attempt(
        HEAD
        + f"""
batched, late = dense.batched(16, 1), dense.batched(16, 300)
x = torch.randn(1, 6)

def work():
    late(x)
    while {daemon}:
        batched(x)

for _ in range(8):
    threading.Thread(target=work, daemon={daemon}).start()
time.sleep({0.5 if daemon else 0})
print("ending")
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ending\n"
    assert done.stderr == ""


def test_arrays_share_calls_without_torch(calls: Installed) -> None:
    with_numpy = dataclasses.replace(calls, python=Path(sys.executable))
    shapes, torch_is_there = with_numpy.run(
        """
import json, sys
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from calls.models import dense
requests = [np.full((1 + i % 2, 6), i, "float32") for i in range(32)]
with dense.batched(12, 60_000) as batched, ThreadPoolExecutor(32) as threads:
    results = list(threads.map(batched, requests))
for request, result in zip(requests, results, strict=True):
    np.testing.assert_allclose(result, dense(request), rtol=1e-4, atol=1e-5)
print(json.dumps([[result.shape for result in results[:2]], "torch" in sys.modules]))
""",
        env={},
    )
    assert shapes == [[1, 5], [2, 5]]
    assert torch_is_there == (calls.engine == "torch")


BUFFERS = """
import array, asyncio, json, sys
from concurrent.futures import ThreadPoolExecutor
from calls.models import conv, dense, kinds, lookup, nested, waves
from calls.models._runtime import _engine

def made(form, *shape, turn=1):
    count = 1
    for size in shape:
        count *= size
    if form == "?":
        return memoryview(bytes(i % 2 for i in range(count))).cast("?", shape)
    values = [i * turn % 9 for i in range(count)]
    return memoryview(array.array(form, values)).cast("B").cast(form, shape)

def words(dtype, *shape, turn):  # of a dtype that buffers have no word for, with gaps
    bits = array.array("H", [0x3F80 + i * turn % 9 for i in range(8 * shape[0] * shape[-1])])
    strides = [2 * size for size in shape[1:]] + [2]
    return _engine.view(bits, dtype, shape, tuple(strides), 0)

def state(rows, turn):
    return {"a": made("f", rows, 4, turn=turn), "b": {"c": made("d", rows, 4, turn=turn)}}

REQUESTS = [
    (dense, lambda rows, turn: [made("f", rows, 6, turn=turn)[::-1]]),
    (conv, lambda rows, turn: [made("f", 1, 3, 6, 5, turn=turn)]),
    (lookup, lambda rows, turn: [made("q", rows, 5, turn=turn)]),
    (nested, lambda rows, turn: [state(rows, turn), (made("f", rows), made("?", rows))]),
    (kinds, lambda rows, turn: [
        made("d", rows), words((4, 16), rows, turn=turn), made("i", rows), bytes(rows),
        made("?", rows),
    ]),
    (waves, lambda rows, turn: [words((5, 64), rows, 3, turn=turn)]),
]

def plain(result):
    if isinstance(result, dict):
        return {name: plain(part) for name, part in result.items()}
    if isinstance(result, tuple):
        return [plain(part) for part in result]
    return [type(result).__name__, result.dtype, result.shape, result.tolist()]

def near(one, two):
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(near(one[name], two[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(near, one, two))
    return one == two or abs(one - two) < 1e-4

async def together(batched, requests):
    return await asyncio.gather(*(batched.acall(*request) for request in requests))

told = []
for model, request in REQUESTS:
    requests = [request(rows, turn) for turn, rows in enumerate((1, 2, 1, 2), 1)]
    expected = [plain(model(*each)) for each in requests]
    rows = 4 if model is conv else 6
    for ask in (model, model.pool(2)):
        with ask.batched(rows, 60_000) as batched, ThreadPoolExecutor(4) as threads:
            found = [*threads.map(lambda each: batched(*each), requests)]
            found += asyncio.run(together(batched, requests))
        told.append(near([plain(each) for each in found], expected * 2))

def error(call, *given):
    try:
        return call(*given)
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def later(*given):
    return asyncio.run(batched.acall(*given))

wrong = [(), ([1],), (state(1, 1), [1.0, 2.0]), (state(1, 1), (made("f", 1), made("f", 1)))]
with nested.batched(8, 0) as batched:
    told += [error(nested, *g) == error(batched, *g) == error(later, *g) != "" for g in wrong]
closed = [error(ask, state(1, 1), (made("f", 1), made("?", 1))) for ask in (batched, later)]
print(json.dumps([told, closed, [name for name in ("numpy", "torch") if name in sys.modules]]))
"""


@pytest.mark.parametrize("library", ["", "numpy"])
def test_plain_buffers_share_calls(
    installed: Callable[..., Installed], request: pytest.FixtureRequest, library: str
) -> None:
    """In a process without torch, and without numpy or with it."""
    python = request.getfixturevalue(f"{library or 'bare'}_python")
    code = f"import {library}\n{BUFFERS}" if library else BUFFERS
    told, closed, there = run_plain(python, installed("calls", STANDALONE).directory, code)
    assert told == [True] * 16
    said = "nested.batched() is closed. Call the model itself, or make another one"
    assert closed == [f"RuntimeError: {said}"] * 2
    assert there == ([library] if library else [])


def test_what_the_docs_show_runs(installed: Callable[[str], Installed]) -> None:
    text = (REPOSITORY / "docs" / "serving.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    shape = "\nimport json\nprint(json.dumps(list(logits.shape)))"
    assert installed("example_project").run("\n".join(blocks) + shape) == [1, 10]
