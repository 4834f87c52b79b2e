"""Throughput of 64 threads that call a model, by themselves and with shared calls.

The models of [serving](serving): a small network, and an encoder of the size of MiniLM with
sequences of several lengths, on as many threads of arithmetic as torch takes by itself. The arms
take turns: ``net(x)``, ``net.batched(64)(x)``, and tasks of one event loop that ``await
net.batched(64).acall(x)``. Every thread and task compares its first result with that of the model
itself. How long a refusal takes while a queue is full is measured apart.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import Row, copy_project, install, pip_wheel, python_json, show

SERVING = Path(__file__).resolve().parent / "serving"
BOUNDS = {"mlp": 3.0, "minilm": 1.3}
"""How many times the requests of threads by themselves."""

SETUP = {
    "mlp": "requests = [torch.rand(1, 64) for _ in range(64)]",
    "minilm": "requests = [torch.randint(30522, (1, 16 + 16 * (i % 4))) for i in range(64)]",
}

THROUGHPUT = """
import asyncio, json, statistics, sys, threading, time
import torch
from serving import models
from serving.models._runtime import QueueFullError

name, setup, rounds, seconds, threads = sys.argv[1:]
if int(threads):
    torch.set_num_threads(int(threads))
torch.manual_seed(0)
exec(setup)
net = getattr(models, name)
batched = net.batched(64)
expected = [net(request) for request in requests]

def right(result, i):
    torch.testing.assert_close(result, expected[i], rtol=1e-3, atol=1e-4)

def by_threads(call):
    counts, begin, end = [0] * len(requests), threading.Barrier(len(requests) + 1), []
    def work(i):
        right(call(requests[i]), i)
        begin.wait()
        while not end:
            call(requests[i])
            counts[i] += 1
    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(requests))]
    for worker in workers:
        worker.start()
    begin.wait()
    start = time.perf_counter()
    time.sleep(float(seconds))
    end.append(True)
    for worker in workers:
        worker.join()
    assert all(counts)
    return sum(counts) / (time.perf_counter() - start)

async def by_tasks():
    count, end = 0, time.perf_counter() + float(seconds)
    async def work(i):
        nonlocal count
        right(await batched.acall(requests[i]), i)
        while time.perf_counter() < end:
            await batched.acall(requests[i])
            count += 1
    await asyncio.gather(*(work(i) for i in range(len(requests))))
    return count / float(seconds)

arms = {
    "alone": lambda: by_threads(net),
    "batched": lambda: by_threads(batched),
    "tasks": lambda: asyncio.run(by_tasks()),
}
found = {arm: [] for arm in arms}
for _ in range(int(rounds)):
    for arm, measure in arms.items():
        found[arm].append(measure())
medians = {arm: statistics.median(values) for arm, values in found.items()}
medians["times"] = statistics.median(
    b / a for a, b in zip(found["alone"], found["batched"], strict=True)
)

full = net.batched(64, 60_000, max_queue=1)
waiting = threading.Thread(target=full, args=(requests[0],))
waiting.start()
refusals = []
while len(refusals) < 200:
    start = time.perf_counter()
    try:
        if "1 waiting" in repr(full):
            full(requests[1])
    except QueueFullError:
        refusals.append((time.perf_counter() - start) * 1e3)
full.close()
waiting.join()
print(json.dumps({**medians, "refusal": max(refusals)}))
"""


def measure(
    rounds: int = 9, seconds: float = 1.0, threads: int = 0, wheel: Path | None = None
) -> list[Row]:
    """Build the models unless there is a wheel of them, and measure.

    Args:
        rounds: How often the arms take turns.
        seconds: Length of each arm in a round.
        threads: Those of torch; 0 leaves its default.
        wheel: The wheel of the models.
    """
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if wheel is None:
            project = copy_project(SERVING, directory / "serving")
            wheel = pip_wheel(project, directory / "dist")
        install(wheel, directory / "site")
        for model, bound in BOUNDS.items():
            arguments = map(str, (rounds, seconds, threads))
            found = python_json(
                *("-W", "ignore", "-c", THROUGHPUT, model, SETUP[model], *arguments),
                env={"PYTHONPATH": str(directory / "site")},
            )
            rows += [
                Row(f"{model} by 64 threads", found["alone"], "/s"),
                Row(f"{model}, batched", found["batched"], "/s"),
                Row(f"{model}, batched, by 64 tasks", found["tasks"], "/s"),
                Row(f"{model}, time of a batched one by alone", 1 / found["times"], "", 1 / bound),
                Row(f"{model}, longest refusal", found["refusal"], "ms", 5),
            ]
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each arm in a round")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves its default")
    parser.add_argument("--wheel", type=Path, help="wheel of the models; built when left out")
    given = parser.parse_args()
    show(measure(given.rounds, given.seconds, given.threads, given.wheel))


if __name__ == "__main__":
    main()
