"""Wheels that need no torch, beside those that torch runs and other runtimes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import CASES as CASES_BY_NAME
from cases import Case, chosen
from common import Row, bytes_under
from peers import PEERS, available
from prepare import Prepared, prepare
from tables import Table
from workers import opened

from aotbuild.steps.tune.statistics import estimate, ratio
from suites import Request
from suites.cold_start import first_result
from suites.latency import timed

ARMS = ("ours", "standalone", "onnxruntime", "openvino")
PEERS_ONLY = ("onnxruntime", "openvino")
CASES = (
    *("mlp", "resnet18", "mobilenet_v2", "minilm", "vit_tiny", "lstm"),
    *("decoder", "video", "spectrogram", "recommender", "graph", "candidates"),
)
FIRST = {"mlp": (12.0, 0.0), "minilm": (25.0, 10.0)}
"""Of a process that has numpy: milliseconds to the first result, and MB besides the weights."""
SMALLEST = 4.0
"""MB of memory that the smallest model takes, all included."""
BARE = 12.0
"""Milliseconds to the first result beyond a process of Python alone."""
SIZE = 1.5
"""MB that one model of two CPU levels installs, without its weights."""
CALL = 0.7
"""Microseconds of a checked call of ``x + 1``."""
GAIN = 1.95
"""Calls of eight threads with a pool of two on two cores, by those of one thread."""
SAME = 1.02
"""Time of a call by that of the same model in a wheel that torch runs."""
MB = 1e6

_BARE = """
import os, sys
sys.path.insert(0, {site!r})
from {package}.models import {model} as model
values = memoryview(bytearray({bytes})).cast("f", {shape!r})
model(values)
os.write(1, b"done\\n")
"""
_EMPTY = 'import os\nos.write(1, b"done\\n")\n'


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare([*cases, CASES_BY_NAME["one"]], peers)
    calls = timed(cases, peers, prepared, request, request.rounds or 11)
    calls.title = "Time of a call, beside the same model run by torch"
    calls.notes[:0] = notes
    calls.bounds = _call_bounds(calls.data)
    first = _first_results(cases, prepared, request.rounds or 21)
    return [calls, first, _small_call(prepared, request.rounds or 21), _threads(prepared)]


def _call_bounds(records: Sequence[dict[str, Any]]) -> list[Row]:
    times: dict[str, dict[str, list[float]]] = {}
    for record in records:
        if "seconds" in record:
            times.setdefault(record["case"], {})[record["arm"]] = record["seconds"]
    rows = []
    for case, found in times.items():
        own, label = found.get("standalone"), CASES_BY_NAME[case].label
        if own is None:
            continue
        if "ours" in found:
            value = ratio(own, found["ours"]).median
            rows.append(Row(f"{label}: by the wheel that torch runs", value, "x", SAME))
        others = {peer: found[peer] for peer in PEERS_ONLY if peer in found}
        if others:
            best = min(others, key=lambda peer: estimate(others[peer]).median)
            value = ratio(own, others[best]).median
            rows.append(Row(f"{label}: by {PEERS[best].label}", value, "x", 1.0))
    return rows


def _first_results(cases: Sequence[Case], prepared: Prepared, rounds: int) -> Table:
    """Start, memory and size."""
    table = Table(
        "A process that calls once",
        ["", "arm", "median [95%], ms", "memory, MB"],
        notes=[
            (
                "From before the process is started until the model has returned; one thread, "
                "files in the page cache. Memory is the resident set then. Of the arms with "
                "numpy, numpy makes the input; without it, a bytearray is the input."
            )
        ],
    )
    arms, _ = available(("nothing", "ours", "standalone", "onnxruntime", "openvino"))
    for case in cases:
        if case.name not in FIRST:
            continue
        times: dict[str, list[float]] = {arm: [] for arm in arms}
        memory: dict[str, list[float]] = {arm: [] for arm in arms}
        for arm in arms:
            first_result(prepared, case, arm)
        for i in range(rounds):
            turn = i % len(arms)
            for arm in arms[turn:] + arms[:turn]:
                seconds, resident = first_result(prepared, case, arm)
                times[arm].append(seconds)
                memory[arm].append(resident)
        for arm in arms:
            found = estimate([value * 1e3 for value in times[arm]])
            resident = estimate(memory[arm]).median
            table.rows.append([case.label, PEERS[arm].label, found.text(), f"{resident:.1f}"])
        table.data.append({"case": case.name, "seconds": times, "MB": memory})
        milliseconds, beyond = FIRST[case.name]
        above = [a - b for a, b in zip(times["standalone"], times["nothing"], strict=True)]
        more = [a - b for a, b in zip(memory["standalone"], memory["nothing"], strict=True)]
        bound = beyond + _weights(prepared, case) if beyond else SMALLEST
        table.bounds += [
            Row(
                f"{case.label}: first result, above Python and numpy",
                *(estimate(above).median * 1e3, "ms", milliseconds),
            ),
            Row(
                f"{case.label}: memory, beyond Python and numpy",
                *(estimate(more).median, "MB", bound),
            ),
        ]
        print(f"  {case.label}: started", flush=True)
    if any(case.name == "mlp" for case in cases):
        mlp = CASES_BY_NAME["mlp"]
        table.bounds += _without_numpy(prepared, mlp, rounds, table)
        installed = bytes_under(prepared.place(mlp, "standalone") / "site") / MB
        without = installed - _weights(prepared, mlp)
        table.bounds.append(Row(f"{mlp.label}: installed, without weights", without, "MB", SIZE))
    return table


def _without_numpy(prepared: Prepared, case: Case, rounds: int, table: Table) -> list[Row]:
    """Start of an interpreter without site-packages, with and without the model."""
    ((_, shape, _),) = case.inputs
    count = 4 * math.prod(shape)
    site = str(prepared.place(case, "standalone") / "site")
    code = _BARE.format(site=site, package=case.package, model=case.model, bytes=count, shape=shape)
    times: dict[str, list[float]] = {"alone": [], "model": []}
    for i in range(rounds + 1):
        for name, text in (("alone", _EMPTY), ("model", code)):
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", text],
                check=True,
                capture_output=True,
                env={**os.environ, "AOTBUILD_NUM_THREADS": "1"},
            )
            assert done.stdout == b"done\n"  # noqa: S101
            if i:  # the first one reads files
                times[name].append(time.perf_counter() - start)
    for name, label in (("alone", "Python alone"), ("model", "aotbuild, stand-alone, no numpy")):
        found = estimate([value * 1e3 for value in times[name]])
        table.rows.append([case.label, label, found.text(), ""])
    table.data.append({"case": case.name, "bare": times})
    above = [a - b for a, b in zip(times["model"], times["alone"], strict=True)]
    value = estimate(above).median * 1e3
    return [Row(f"{case.label}: first result, above Python alone", value, "ms", BARE)]


def _small_call(prepared: Prepared, rounds: int) -> Table:
    """A call that does next to nothing."""
    case = CASES_BY_NAME["one"]
    peers, _ = available(ARMS)
    table = Table("A checked call of x + 1", ["arm", "median [95%], us"])
    with opened(case, peers, prepared) as (workers, _, _):
        times: dict[str, list[float]] = {peer: [] for peer in workers}
        for _ in range(rounds):
            for peer, worker in workers.items():
                times[peer].append(worker.ask("seconds", peer, calls=20000, warm=2000))
    for peer, spent in times.items():
        found = estimate([value * 1e6 for value in spent])
        table.rows.append([PEERS[peer].label, found.text()])
    table.data.append({"case": case.name, "seconds": times})
    value = estimate(times["standalone"]).median * 1e6
    table.bounds.append(Row(f"{case.label}: a call", value, "us", CALL))
    return table


_THREADS = """
import sys, threading, time
import numpy as np
sys.path.insert(0, {site!r})
from {package}.models import {model} as model
from {package}.models import set_num_threads
set_num_threads(1)
shape = {shape!r}
x = [np.ones(shape, np.float32) for _ in range(8)]
pool = model.pool(2, threads_per_call=1)
def rate(called, threads):
    counts, ready = [0] * threads, threading.Barrier(threads + 1)
    end = [0.0]
    def work(i):
        called(x[i])
        ready.wait()
        while time.perf_counter() < end[0]:
            called(x[i])
            counts[i] += 1
    started = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for thread in started:
        thread.start()
    end[0] = time.perf_counter() + {seconds}
    ready.wait()
    start = time.perf_counter()
    for thread in started:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)
for _ in range({rounds}):
    print(rate(model, 1), rate(pool, 8), flush=True)
"""


def _threads(prepared: Prepared, rounds: int = 9) -> Table:
    """Calls a second of eight threads that share a pool of two, on two cores."""
    case = CASES_BY_NAME["resnet18"]
    table = Table("Eight threads, a pool of two", ["", "1 thread, calls/s", "8 threads, calls/s"])
    site = prepared.place(case, "standalone") / "site"
    if not Path(site).is_dir():
        return table
    ((_, shape, _),) = case.inputs
    code = _THREADS.format(
        site=str(site),
        package=case.package,
        model=case.model,
        shape=shape,
        seconds=1.0,
        rounds=rounds,
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    pairs = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    one, eight = ([pair[i] for pair in pairs] for i in range(2))
    table.rows.append([case.label, estimate(one).text(), estimate(eight).text()])
    table.data.append({"case": case.name, "1": one, "8": eight})
    slower = 1 / ratio(eight, one).median
    table.bounds.append(Row(f"{case.label}: 1 thread / 8 threads", slower, "x", 1 / GAIN))
    return table


def _weights(prepared: Prepared, case: Case) -> float:
    """MB of the weights that a wheel installs."""
    site = prepared.place(case, "standalone") / "site"
    return sum(path.stat().st_size for path in site.rglob("*.safetensors")) / MB
