"""Many calls, refusals, threads and forks: nothing is lost, and nothing hangs."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from wheels import STANDALONE, TORCH, Installed

SECONDS = float(os.environ.get("AOTBUILD_ENDURANCE", "4"))
"""How long the threads call; 60 for a minute."""

HEAD = """
import array, json, os, sys, threading, time
from digits.models import net
values = array.array("f", [(i * 37 % 101) / 101 for i in range(64 * 64)])
def made(n):
    return memoryview(values)[: n * 64].cast("B").cast("f", (n, 1, 8, 8))
"""

TENSORS = """
import torch
def made(n):
    return torch.frombuffer(values, dtype=torch.float32)[: n * 64].reshape(n, 1, 8, 8)
"""

RESIDENT = """
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
"""


@pytest.fixture(scope="module", params=[TORCH, STANDALONE])
def kind(installed: Callable[..., Installed], request: pytest.FixtureRequest) -> Installed:
    return installed("example_project", request.param)


@pytest.fixture
def run(kind: Installed) -> Callable[[str], object]:
    torch = any(text.startswith("torch") for text in kind.required)
    # An environment, even an empty one, is a fresh process without torch.
    return lambda code: kind.run(HEAD + (TENSORS if torch else "") + RESIDENT + code, {})


def test_calls_and_refusals_leak_nothing(run: Callable[[str], object]) -> None:
    found = run(
        """
one, many, wrong = made(1), made(64), [made(1), "x", None, made(3)]
def refusals(count):
    told = 0
    for i in range(count):
        try:
            net(wrong[i % 3], wrong[3]) if i % 2 else net(wrong[1 + i // 2 % 2])
        except TypeError:
            told += 1
    return told
for _ in range(2000):
    net(one)
net(many)
refusals(1000)
before = resident()
for _ in range(100_000):
    net(one)
for _ in range(2000):
    net(many)
called = resident() - before
told = refusals(10_000)
print(json.dumps([called < 1 << 20, told, resident() - before < 1 << 20]))
"""
    )
    assert found == [True, 10_000, True]


def test_sixty_four_threads_call_at_once(run: Callable[[str], object]) -> None:
    found = run(
        f"""
def equal(one, other):
    if hasattr(one, "dim"):
        return torch.equal(one, other)
    return memoryview(one) == memoryview(other)
sizes = [1, 2, 7, 64]
expected = [net(made(n)) for n in sizes]
wrong, counts, end = [], [0] * 64, time.monotonic() + {SECONDS}
def work(i):
    while time.monotonic() < end:
        k = (i + counts[i]) % 4
        if not equal(net(made(sizes[k])), expected[k]):
            wrong.append(k)
        counts[i] += 1
threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps([wrong, min(counts) > 0]))
"""
    )
    assert found == [[], True]


def test_a_thousand_forks_call(run: Callable[[str], object]) -> None:
    found = run(
        """
many = made(64)
def scores():
    result = net(many)
    return result.flatten().tolist() if hasattr(result, "flatten") else memoryview(result).tobytes()
expected = scores()
ended, running = [], set()
def reap():
    deadline = time.monotonic() + 60
    pid, status = 0, 0
    while not pid and time.monotonic() < deadline:
        pid, status = os.waitpid(-1, os.WNOHANG)
        time.sleep(0 if pid else 0.001)
    if not pid:
        [os.kill(each, 9) for each in running]
        raise SystemExit("a child hangs")
    running.discard(pid)
    ended.append(status)
for _ in range(1000):
    pid = os.fork()
    if not pid:
        os._exit(0 if scores() == expected else 1)
    running.add(pid)
    if len(running) == 4:
        reap()
while running:
    reap()
print(json.dumps([len(ended), set(ended) == {0}]))
"""
    )
    assert found == [1000, True]
