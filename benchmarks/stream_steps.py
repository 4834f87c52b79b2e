"""What a state costs where a call is short, what ``scan`` saves, and the memory a step touches.

The models of [streaming](streaming), on one thread, with tensors and with numpy arrays, in one
process: a call with a state, the same model with its state as inputs and outputs, which the caller
passes on, and the same with one that never changes. Blocks of calls take turns; each arm gives what
eager gives, step after step, before it is timed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from common import Row, copy_project, install, pip_wheel, python_json, show
from tables import Table

HERE = Path(__file__).resolve().parent
ABOVE = 2.0
"""Microseconds of a call with a state above one without."""
SCAN = 0.5
"""Time of a scan by that of as many calls."""
TOUCHED = 2.0
"""MB that 40 steps may add to the memory of the process, where the cache has 32."""
STEPS = 1000
MODELS = {"gru": "GRU cell of 64", "convolutions": "two causal convolutions"}

CALLS = """
import json, statistics, sys, time
import numpy as np
import torch
import streaming.models as models
from streaming import modules

name, blocks, calls, steps = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(1)
kept, passed, ignored = (getattr(models, name + suffix) for suffix in ("", "_passed", "_ignored"))
kind = {"gru": "Gru", "convolutions": "Convolutions"}[name]
eager = getattr(modules, kind)().eval()
buffers = [buffer.clone() for buffer in eager.buffers()]
shape = {"gru": (1, 64), "convolutions": (1, 16, 1)}[name]
xs = torch.rand(steps, *shape)

def arms_of(convert):
    x, state = convert(xs[0]), kept.new_state()
    held = [convert(buffer.clone()) for buffer in buffers]
    def carried(x=x):
        found = passed(x, *held)
        if name == "gru":
            held[0] = found
            return found
        y, held[0], held[1] = found
        return y
    return {
        "state": lambda x=x: kept(x, state=state),
        "passed": carried,
        "ignored": lambda x=x: ignored(x),
        "again": lambda x=x: ignored(x),
    }

def check(arms, convert):
    module = getattr(modules, kind)().eval()
    first = getattr(modules, kind + "Ignored")().eval()
    for x in xs[:20]:
        y = module(x)
        for arm in ("state", "passed"):
            torch.testing.assert_close(torch.as_tensor(arms[arm](convert(x))), y, msg=arm)
        torch.testing.assert_close(torch.as_tensor(arms["ignored"](convert(x))), first(x))

def microseconds(arm, calls):
    start = time.perf_counter()
    for _ in range(calls):
        arm()
    return (time.perf_counter() - start) / calls * 1e6

def turns(arms, calls):
    times = {arm: [] for arm in arms}
    names = list(arms)
    for i in range(-1, blocks):
        for arm in names[i % len(names):] + names[:i % len(names)]:
            spent = microseconds(arms[arm], calls)
            if i >= 0:  # the first round warms up
                times[arm].append(spent)
    return times

def above(times, arm, other):
    pairs = zip(times[arm], times[other], strict=True)
    return statistics.median(one - two for one, two in pairs)

result = {}
with torch.no_grad():
    for label, convert in (("tensors", lambda x: x), ("arrays", lambda x: x.numpy())):
        arms = arms_of(convert)
        check(arms, convert)
        if label == "tensors":
            arms["eager"] = lambda: eager(xs[0])
        times = turns(arms, calls)
        whole, rows, state = convert(xs), [convert(x) for x in xs], kept.new_state()
        def one_by_one():
            for x in rows:
                kept(x, state=state)
        expected = [torch.as_tensor(kept(x, state=state)) for x in rows]
        got = torch.as_tensor(kept.scan(whole, state=kept.new_state()))
        torch.testing.assert_close(got, torch.stack(expected))
        scans = turns({"scan": lambda: kept.scan(whole, state=state), "calls": one_by_one}, 1)
        result[label] = {
            "medians": {arm: statistics.median(found) for arm, found in times.items()},
            "passed": above(times, "state", "passed"),
            "ignored": above(times, "state", "ignored"),
            "noise": above(times, "again", "ignored"),
            "scan": statistics.median(scans["scan"]),
            "ratio": statistics.median(
                one / two for one, two in zip(scans["scan"], scans["calls"], strict=True)
            ),
        }
print(json.dumps(result))
"""

MEMORY = """
import json, resource
import torch
from streaming.models import long
from streaming.modules import Long

def used():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 1e6

module, row, state = Long(), torch.arange(8.0), long.new_state()
rows = row.repeat(20, 1)
def check():
    torch.testing.assert_close(long(row, state=state), module(row))
check()
long.scan(row[None], state=state)
module(row)
before = used()
for _ in range(20):
    check()
long.scan(rows, state=state)
print(json.dumps({"cache": state.nbytes / 1e6, "touched": used() - before}))
"""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=200)
    parser.add_argument("--calls", type=int, default=200, help="calls in a block")
    options = parser.parse_args()
    for table in measure(options.blocks, options.calls):
        print(f"\n{table.title}")
        show(table.bounds)


def measure(blocks: int, calls: int = 200) -> list[Table]:
    """Build the models and measure them."""
    short = Table("A step of a small model, beside the same without a state", [])
    scan = Table(f"A scan of {STEPS} steps by as many calls", [])
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        project = copy_project(HERE / "streaming", directory / "streaming")
        install(pip_wheel(project, directory / "dist"), directory / "site")
        env = {"PYTHONPATH": str(directory / "site"), "OMP_NUM_THREADS": "1"}
        sizes = tuple(map(str, (blocks, calls, STEPS)))
        for name, label in MODELS.items():
            found = python_json("-W", "ignore", "-c", CALLS, name, *sizes, env=env)
            for kind, values in found.items():
                head, medians = f"{label}, {kind}", values["medians"]
                short.bounds += [
                    Row(f"{head}: with a state", medians["state"], "us"),
                    Row("  state passed by the caller", medians["passed"], "us"),
                    Row("  a state that never changes", medians["ignored"], "us"),
                    *(Row("  eager", medians[arm], "us") for arm in medians if arm == "eager"),
                    Row("  above the state passed", values["passed"], "us", ABOVE),
                    Row("  above the one that never changes", values["ignored"], "us", ABOVE),
                    Row("  the same call above itself (noise)", values["noise"], "us"),
                ]
                scan.bounds += [
                    Row(f"{head}: a step", values["scan"] / STEPS, "us"),
                    Row("  by a call", values["ratio"], "x", SCAN),
                ]
        touched = python_json("-W", "ignore", "-c", MEMORY, env=env)
    memory = Table("Memory that a step touches", [])
    label = f"40 steps, each writing a row of a cache of {touched['cache']:.0f} MB"
    memory.bounds.append(Row(label, touched["touched"], "MB", TOUCHED))
    return [short, scan, memory]


if __name__ == "__main__":
    main()
