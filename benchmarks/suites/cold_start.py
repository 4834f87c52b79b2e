"""Time from the start of a fresh process to the first result, which the process tells itself.

Files are in the page cache, and what can be warm is: torch.compile's cache, and that of the probes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from cases import Case, chosen
from common import Row
from peers import PEERS, available
from prepare import HERE, Prepared, prepare
from tables import Chart, Table

from aotbuild.steps.tune.statistics import estimate, ratio
from suites import Request
from suites.latency import last_line

ARMS = (
    *("nothing", "torch", "ours", "arrays", "eager", "compile", "package", "onnxruntime"),
    "openvino",
)
CASES = ("mlp", "resnet18", "minilm")
ROUNDS = 7
SMALL = "mlp"
"""Bounds are for a model whose own weights and first call are next to nothing."""


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare(cases, peers)
    table = Table(
        "Fresh process to first result",
        ["", "arm", "median [95%], s", "aotbuild / arm [95%]", "memory then, MB"],
        notes=[
            *notes,
            (
                "From before the process is started until it says that the model has returned, "
                "with the input made by numpy; one thread. That includes the first call itself, "
                "which import torch alone does not make. aotbuild / arm: aotbuild with tensors. "
                "Memory is the resident set. Caches are warm."
            ),
        ],
    )
    for case in cases:
        _measure(case, peers, prepared, request.rounds or ROUNDS, table)
    return [table]


def _measure(case: Case, peers: list[str], prepared: Prepared, rounds: int, table: Table) -> None:
    times: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    for peer in peers:  # what the first process of each reads or compiles is not counted
        try:
            first_result(prepared, case, peer)
            times[peer] = []
        except RuntimeError as error:
            told = f"{case.label}, {PEERS[peer].label}: {last_line(str(error))}"
            if peer == "arrays" and "TypeError" in told:
                told = f"{PEERS[peer].label} is left out: the installed one takes no arrays."
            if told not in table.notes:
                table.notes.append(told)
    for i in range(rounds):
        names = list(times)
        turn = i % len(names)
        for peer in names[turn:] + names[:turn]:
            seconds, memory[peer] = first_result(prepared, case, peer)
            times[peer].append(seconds)
    chart = Chart(case.label, "s")
    for peer, spent in times.items():
        found = estimate(spent)
        shown = "" if peer == "ours" else ratio(times["ours"], spent).text()
        label = PEERS[peer].label
        table.rows.append([case.label, label, found.text(), shown, f"{memory[peer]:.0f}"])
        table.data.append({"case": case.name, "arm": peer, "seconds": spent, "MB": memory[peer]})
        chart.bars.append((label, *found))
    table.charts.append(chart)
    if case.name == SMALL:
        table.bounds += _bounds(case, times, memory)
    print(f"  {case.label}: done", flush=True)


def _bounds(case: Case, times: dict[str, list[float]], memory: dict[str, float]) -> list[Row]:
    label = case.label
    above = [a - b for a, b in zip(times["ours"], times["torch"], strict=True)]
    rows = [
        Row(f"{label}: tensors, above import torch", estimate(above).median * 1e3, "ms", 15),
    ]
    if "arrays" in times:
        share = ratio(times["arrays"], times["torch"]).median
        rows += [
            Row(f"{label}: arrays, by import torch", share, "x", 0.3),
            Row(f"{label}: arrays, memory", memory["arrays"], "MB", 130),
        ]
    for peer, bound in (("package", 1 / 4), ("compile", 1 / 10)):
        if peer in times and "arrays" in times:
            value = ratio(times["arrays"], times[peer]).median
            rows.append(Row(f"{label}: arrays, by {PEERS[peer].label}", value, "x", bound))
    return rows


def first_result(prepared: Prepared, case: Case, peer: str) -> tuple[float, float]:
    """Seconds to the first result in a fresh process, and its resident memory in MB then.

    Raises:
        RuntimeError: There is no result.
    """
    arguments = ["first", peer, case.name, str(prepared.place(case, peer))]
    env: dict[str, Any] = {**os.environ, **prepared.env}
    command = [sys.executable, "-P", "-W", "ignore", str(HERE / "worker.py"), *arguments]
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout  # noqa: S101  # it is a pipe
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
        rest = process.stdout.read()
        error = process.communicate()[1]
    if line != "done\n":
        raise RuntimeError(line + error or "no result")
    return seconds, int(rest) * 1024 / 1e6
