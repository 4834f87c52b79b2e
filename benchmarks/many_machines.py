"""Rows that engines give to a model on this machine, beside one loop (docs/many-machines.md).

``python many_machines.py --interpreter PYTHON``, of an environment with torch, numpy, ray[data] and
dask[array,distributed]. All arms classify the same images with the model ``net`` of the example,
250 in a call, by two workers of one core or by calls of two threads; they take turns. The time of
an arm is that from the images in memory to all digits in memory, without the start of the cluster.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import Row, example_wheel, install, python_json, show

SHARE = 0.9
"""Rows a second by Ray Data, of those by the loop."""

HEAD = """
import json, os, sys, time
import numpy as np
ROWS = int(sys.argv[1])
images = np.random.default_rng(0).random((ROWS, 1, 8, 8), dtype="float32")

def private(pid="self"):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        rows = dict(line.split(":") for line in file if line.startswith("Private_"))
    return sum(int(kb.split()[0]) for kb in rows.values()) / 1024

def in_calls(images):
    return np.concatenate([net(images[i : i + 250]).argmax(1) for i in range(0, len(images), 250)])

def tell(digits, seconds, memory):
    print(json.dumps({"seconds": seconds, "sum": int(np.sum(digits)), "memory": memory}))
"""
"""What all arms have: the images, private megabytes of a process, and calls one by one."""

MODEL = "from digits.models import net\n"

EAGER = """
import torch
from digits.models import net as compiled
from digits.network import Net
module = Net().eval()
module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in compiled.state_dict().items()})

def net(images):
    with torch.inference_mode():
        return module(torch.from_numpy(np.array(images))).numpy()
"""

LOOP = """
net(images[:250])
start = time.perf_counter()
digits = in_calls(images)
tell(digits, time.perf_counter() - start, [private()])
"""

RAY = """
import ray
def classify(batch):
    digits = net(batch["data"]).argmax(axis=1)
    return {"digit": digits, "pid": np.full(len(digits), os.getpid())}
def classified(images):
    rows = ray.data.from_numpy(np.array_split(images, 32))
    return rows.map_batches(classify, batch_size=250).to_pandas()
ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
ray.data.DataContext.get_current().enable_progress_bars = False
classified(images[:8000])
start = time.perf_counter()
found = classified(images)
tell(found["digit"], time.perf_counter() - start, [private(pid) for pid in set(found["pid"])])
ray.shutdown()
"""

DASK = """
import dask.array as da
from dask.distributed import Client
if __name__ == "__main__":
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        client.run(in_calls, images[:250])
        start = time.perf_counter()
        rows = da.from_array(images, chunks=(12500, 1, 8, 8))
        digits = rows.map_blocks(in_calls, drop_axis=(1, 2, 3), dtype="int64").compute()
        tell(digits, time.perf_counter() - start, list(client.run(private).values()))
"""

ARMS = {
    "a loop": MODEL + LOOP,
    "Ray Data": MODEL + RAY,
    "Dask": MODEL + DASK,
    "eager, a loop": EAGER + LOOP,
    "eager, Ray Data": EAGER + RAY,
}


def main() -> None:
    """Run all arms in turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheel", type=Path, help="of example_project; built if it is not given")
    parser.add_argument("--interpreter", default=sys.executable)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ARMS}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        install(arguments.wheel or example_wheel(directory), directory / "site")
        for number, (arm, code) in enumerate(ARMS.items()):
            (directory / f"arm_{number}.py").write_text(f"# {arm}\n{HEAD}{code}")
        env = {
            "PYTHONPATH": str(directory / "site"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        for _ in range(arguments.repeats):
            for number, arm in enumerate(ARMS):
                # Ray and Dask tell their workers that one has one core.
                own = {"OMP_NUM_THREADS": "2"} if arm.endswith("loop") else {}
                found[arm].append(
                    python_json(
                        directory / f"arm_{number}.py",
                        str(arguments.rows),
                        env={**env, **own},
                        interpreter=arguments.interpreter,
                    )
                )
    rates = {
        arm: statistics.median(arguments.rows / run["seconds"] for run in runs)
        for arm, runs in found.items()
    }
    rows = []
    for arm, runs in found.items():
        memory = [value for run in runs for value in run["memory"]]
        rows += [
            Row(f"{arm}: rows a second", rates[arm], ""),
            Row(f"{arm}: private memory of a worker", statistics.median(memory), "MB"),
        ]
    loop = rates["a loop"] / rates["Ray Data"]
    show([*rows, Row("Ray Data: time by that of the loop", loop, "x", 1 / SHARE)])
    sums = {arm: runs[0]["sum"] for arm, runs in found.items()}
    print(f"\nsums of all digits, which differ where rounding decides: {sums}")


if __name__ == "__main__":
    main()
