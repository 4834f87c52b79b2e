"""Threads, forks, leaks and the end of the process: what a server does to a model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wheels import AWAIT_CHILD, KINDS, Installed, of_kind


@pytest.fixture(scope="module", params=KINDS)
def example(installed: Callable[[str], Installed], request: pytest.FixtureRequest) -> Installed:
    return of_kind(installed, "example_project", request.param)


HEAD = """
import json, os, sys, threading, time, torch
from digits.models import denoiser, net
torch.manual_seed(0)
images = torch.rand(64, 1, 8, 8)
"""

IN_CHILD = (
    """
torch.set_num_threads(2)
{before}
read, write = os.pipe()
child = os.fork()
if not child:
    os.write(write, json.dumps(net(images).flatten().tolist()[:8]).encode())
    os._exit(0)
"""
    + AWAIT_CHILD
    + """os.close(write)
given = os.read(read, 65536).decode()
close = bool(given) and torch.allclose(torch.tensor(json.loads(given)), net(images).flatten()[:8])
print(json.dumps([bool(ended), close, torch.get_num_threads()]))
"""
)


@pytest.mark.parametrize("before", ["", "net(images)", "net(images), denoiser(images)"])
def test_a_forked_child_gives_the_right_result(example: Installed, before: str) -> None:
    assert example.run(HEAD + IN_CHILD.replace("{before}", before)) == [True, True, 2]


def test_calls_from_many_threads_are_right(example: Installed) -> None:
    wrong = example.run(
        HEAD
        + """
batches = [torch.rand(1 + i, 1, 8, 8) for i in range(16)]
expected = [net(batch) for batch in batches]
wrong = []

def work(turn):
    for i in range(200):
        k = (i * 7 + turn) % 16
        if not torch.allclose(net(batches[k]), expected[k], atol=1e-6):
            wrong.append(k)

threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(wrong))
"""
    )
    assert wrong == []


def test_many_threads_load_a_model_once(example: Installed) -> None:
    found = example.run(
        """
import json, threading, torch
from digits.models._runtime import engines, native_engine
kind = {"native": native_engine.NativeEngine, "torch": engines.CpuEngine}["{engine}" or "native"]
loads, made = [], kind.__init__

def counted(self, *args, **named):
    loads.append(1)
    made(self, *args, **named)

kind.__init__ = counted
models, start = [], threading.Barrier(16)

def load():
    start.wait()
    import digits.models
    models.append(digits.models.net)

threads = [threading.Thread(target=load) for _ in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([len(loads), len({id(model) for model in models})]))
""".replace("{engine}", example.engine)
    )
    assert found == [1, 1]


LEAK = """
torch.set_num_threads(1)
images = images[:2]

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def call():
    {call}

for _ in range(2000):
    call()
before = resident()
for _ in range(10_000):
    call()
print(json.dumps(resident() - before))
"""

CALLS = {
    "right": "net(images)",
    "nested": "denoiser(images)",
    "copied": "net(images.transpose(2, 3))",
    "refused": """
    try:
        net(images[:, :, :7])
    except ValueError:
        pass""",
    "unknown": """
    try:
        net(images, images, size=images)
    except TypeError:
        pass""",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_ten_thousand_calls_leave_the_memory_as_it_was(example: Installed, call: str) -> None:
    grown = example.run(HEAD + LEAK.replace("{call}", call))
    assert grown < 2 << 20, grown


BUSY = """
def turn():
    while True:
        pass

for _ in range(2):
    threading.Thread(target=turn, daemon=True).start()
sys.setswitchinterval(0.1)  # seconds until a call that ends goes on
"""


@pytest.mark.parametrize("busy", ["", BUSY], ids=["idle", "busy"])
def test_the_process_ends_while_calls_are_running(example: Installed, busy: str) -> None:
    done = example.attempt(
        HEAD
        + busy
        + """
results = []  # to release one is a function of torch that is not a call's

def work():
    while True:
        results.append(net(images))

for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.5)
print("ending")
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ending\n"
    assert done.stderr == ""


def test_a_model_goes_to_other_processes_by_its_import_path(example: Installed) -> None:
    found, difference = example.run(
        HEAD
        + """
import multiprocessing, pickle
assert pickle.loads(pickle.dumps(net)) is net
context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    found = torch.cat(pool.map(net, [images[:4], images[4:8]]))
print(json.dumps([list(found.shape), float((found - net(images[:8])).abs().max())]))
"""
    )
    assert found == [8, 10]
    assert difference < 1e-5


def test_a_pool_runs_several_calls_at_once_with_one_set_of_weights(example: Installed) -> None:
    wrong = example.run(
        HEAD
        + """
pools = [net.pool(2), net.pool(3, threads_per_call=1)]
batches = [torch.rand(1 + i, 1, 8, 8) for i in range(16)]
expected = [net(batch) for batch in batches]
other = {name: tensor * 1.1 if tensor.is_floating_point() else tensor
         for name, tensor in net.state_dict().items()}
wrong = []

def work(turn, pool):
    for i in range(100):
        k = (i * 7 + turn) % 16
        if not torch.allclose(pool(batches[k]), expected[k], atol=1e-5):
            wrong.append([turn, i])

def together():
    threads = [threading.Thread(target=work, args=(i, pools[i % 2])) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

together()
pools[0].load_state_dict(other)
expected = [net(batch) for batch in batches]
together()
assert torch.get_num_threads() == before, (torch.get_num_threads(), before)
print(json.dumps(wrong))
""".replace("pools =", "before = torch.get_num_threads()\npools =", 1)
    )
    assert wrong == []


def test_a_forked_child_can_use_a_pool(example: Installed) -> None:
    code = IN_CHILD.replace("{before}", "net(images)\nnet = net.pool(2)\nnet(images)")
    assert example.run(HEAD + code) == [True, True, 2]
