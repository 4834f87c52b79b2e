"""Calls a second of one and of two threads, each on one thread of arithmetic; and of batching."""

from __future__ import annotations

import batching
from cases import chosen
from common import Row
from peers import PEERS, available
from prepare import prepare
from tables import Table
from workers import opened

from aotbuild.steps.tune.statistics import estimate, ratio
from suites import Request
from suites.latency import last_line

ARMS = ("ours", "eager", "compile", "package", "onnxruntime", "openvino")
CASES = ("mlp", "resnet18", "minilm")
ROUNDS = 9
SECONDS = 0.5
SHORT = 1000
"""Calls a second; the bound is not for shorter ones, between which Python itself is most of it."""


def run(request: Request) -> list[Table]:
    """Measure."""
    peers, notes = available(ARMS)
    cases = chosen(CASES, request.model)
    prepared = prepare(cases, peers)
    table = Table(
        "Calls of two threads",
        ["", "arm", "1 thread, calls/s [95%]", "2 threads, calls/s [95%]", "2 / 1 [95%]"],
        notes=[
            *notes,
            (
                "Each thread of Python calls with one thread of arithmetic: net.pool(2, "
                "threads_per_call=1); num_runners=2; two streams of OpenVINO; else the same "
                "object."
            ),
        ],
    )
    for case in cases:
        with (
            opened(case, peers, prepared) as (one, _, errors),
            opened(case, list(one), prepared, runners=2) as (two, _, more),
        ):
            rates: dict[str, tuple[list[float], list[float]]] = {peer: ([], []) for peer in two}
            for i in range(request.rounds or ROUNDS):
                names = list(two)
                turn = i % len(names)
                for peer in names[turn:] + names[:turn]:
                    for threads, workers in ((1, one), (2, two)):
                        made = workers[peer].ask("together", peer, seconds=SECONDS, threads=threads)
                        rates[peer][threads - 1].append(made)
        for peer, (single, double) in rates.items():
            gain = ratio(double, single)
            texts = [estimate(values).text() for values in (single, double)]
            table.rows.append([case.label, PEERS[peer].label, *texts, gain.text()])
            table.data.append({"case": case.name, "arm": peer, "1": single, "2": double})
            if peer == "ours" and estimate(single).median < SHORT:
                slower = 1 / gain.median
                table.bounds.append(
                    Row(f"{case.label}: 1 thread / 2 threads", slower, "x", 1 / 1.7)
                )
        table.notes += [
            f"{case.label}, {PEERS[peer].label}: {last_line(told)}"
            for peer, told in {**errors, **more}.items()
        ]
        print(f"  {case.label}: done", flush=True)
    return [table, Table("Batching", [], bounds=batching.measure(request.rounds or 5))]
